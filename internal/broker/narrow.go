package broker

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/api"
	"holdfast/internal/plainjson"
	"holdfast/internal/policy"
)

// narrowAppraisal leaves out images and configurations that are no matter to
// this machine, unless the policy says that they are: a proof tells no more of
// a broker than it must.
func (b *Broker) narrowAppraisal(ctx context.Context, full appraisal, configuration string) appraisal {
	narrow := full
	var same bool
	if narrow.question, narrow.references, same = b.narrow(ctx, full.question, full.claims, configuration); !same {
		return full
	}
	return narrow
}

// narrow is the question with no more data than what is about a machine, where
// the answer is the same: because the policy looked at nothing else, or because
// it was asked again. If the answer is another, the question stays as it was.
func (b *Broker) narrow(ctx context.Context, full question, claims map[string]any, configuration string) (question, references, bool) {
	few := full.rules.only(claims, configuration)
	data, err := few.with(full.about)
	if err != nil {
		return full, references{}, false
	}
	again := full
	again.data = data
	if full.data.Enough(data) {
		return again, few.references, true
	}
	again.Decision, err = full.by.policy.Ask(ctx, full.input, data)
	if err != nil || !reflect.DeepEqual(again.Decision, full.Decision) {
		return full, references{}, false
	}
	return again, few.references, true
}

// few is a part of the rules.
type few struct {
	data       *policy.Data
	references references
	beside     *beside
}

// beside is the data with what was asked about beside it.
type beside struct {
	mu  sync.Mutex
	all map[string]*policy.Data // guarded by mu; by the JSON of what was asked about
}

// maxBeside bounds what is remembered of each part: machines of one kind ask
// for the same few resources.
const maxBeside = 16

func (f few) with(about map[string]any) (*policy.Data, error) {
	if about == nil {
		return f.data, nil
	}
	key, err := plainjson.Marshal(about)
	if err != nil {
		return nil, err
	}
	f.beside.mu.Lock()
	defer f.beside.mu.Unlock()
	if data, ok := f.beside.all[string(key)]; ok {
		return data, nil
	}
	data, err := f.data.With(about)
	if err != nil {
		return nil, err
	}
	if f.beside.all == nil || len(f.beside.all) >= maxBeside {
		f.beside.all = map[string]*policy.Data{}
	}
	f.beside.all[string(key)] = data
	return data, nil
}

// only leaves out of the data what is no matter to a machine with these claims
// and this configuration.
func (r *rules) only(claims map[string]any, configuration string) few {
	images := r.shown(claims)
	keys := r.keys.among(claims)
	key := configuration + " " + strings.Join(images, " ") + " " + strings.Join(keys, " ")
	f, ok := r.narrowed.get(key)
	if !ok {
		f = r.narrow(images, keys, configuration)
		r.narrowed.put(key, f)
	}
	return f
}

func (r *rules) narrow(images, keys []string, configuration string) few {
	trusted := references{map[string]*api.ReferenceValues{}, r.trusted.envelopes}
	for _, shown := range images {
		for _, id := range r.images[shown].References {
			if v, ok := r.trusted.values[id]; ok {
				trusted.values[id] = v
			}
		}
	}
	ids := slices.Sorted(maps.Keys(trusted.values))
	return few{r.data.Only("images", images...).Only("reference", ids...).Only("reference_values").Only("configurations", configuration).
		Only("attestation_keys", keys...), trusted, &beside{}}
}

// maxNarrowed bounds the parts that are remembered.
const maxNarrowed = 1024

// narrowed are parts of the rules, and go with them: what rules say is built
// once for each change of them, and when one expires. Beside them a part
// depends on its key: the configuration, and the images and the listed key that
// evidence shows.
type narrowed struct {
	mu    sync.Mutex
	parts map[string]few // guarded by mu
}

func (n *narrowed) get(key string) (few, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, ok := n.parts[key]
	return f, ok
}

func (n *narrowed) put(key string, f few) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.parts == nil || len(n.parts) >= maxNarrowed {
		n.parts = map[string]few{}
	}
	n.parts[key] = f
}
