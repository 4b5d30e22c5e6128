package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"holdfast/internal/plainjson"
)

// A Memory spares asking what was asked before, of one Data. A policy has no
// chance, and mostly no clock, so what it says follows from what it looks at: each
// answer is kept with the values of the input that its policy looked at, and
// with the names of all there are. An input that has the same names, and the
// same values there, would be answered the same, whatever its nonce.
//
// Only what was allowed is kept: who is refused can wait. A policy that verifies
// chains of certificates, which end, is asked each time. The zero Memory
// remembers nothing; make one by Remember.
type Memory struct {
	data *Data

	mu    sync.Mutex
	views []*view // guarded by mu, as all below
	kept  int     // answers
	vain  int     // that were allowed since one was known
}

// A view is what a policy looked at.
type view struct {
	policy  *Policy
	leaves  []string          // paths, sorted
	answers map[string]answer // by what stood there
}

type answer struct {
	Decision
	data *Data // that noted what was read
}

// Bounds on what is remembered. Of policies that look at a nonce, nothing is
// ever known: after so many questions in vain no more is tried.
const (
	maxAnswers = 4096
	maxViews   = 16
	patience   = 512
)

// Remember makes a Memory of answers over data.
func Remember(data *Data) *Memory { return &Memory{data: data} }

// Ask is Policy.Ask over the memory's data, of which it returns what noted the
// places that the policy read. Nobody may alter an answer: others get the same.
func (m *Memory) Ask(ctx context.Context, p *Policy, input map[string]any) (Decision, *Data, error) {
	if p.clock {
		data := m.data.Noting()
		d, err := p.Ask(ctx, input, data)
		return d, data, err
	}
	var room [1 << 10]byte
	shape, plain := appendShape(room[:0], input)
	if a, ok := m.known(p, input, shape); ok && plain {
		return a.Decision, a.data, nil
	}
	data := m.data.Noting()
	d, err := p.Ask(ctx, input, data)
	if err == nil && d.Allow && plain && m.hopeful() {
		m.learn(ctx, p, input, shape, answer{d, data})
	}
	return d, data, err
}

func (m *Memory) known(p *Policy, input map[string]any, shape []byte) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.views {
		if v.policy != p {
			continue
		}
		key, err := appendLeaves(shape, input, v.leaves)
		if err != nil {
			continue
		}
		if a, ok := v.answers[string(key)]; ok {
			m.vain = 0
			return a, true
		}
	}
	return answer{}, false
}

// hopeful counts one more that was allowed and not known.
func (m *Memory) hopeful() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.vain++
	return m.vain < patience
}

// learn asks again with an input that notes what is looked at, and keeps the
// answer if it is the same.
func (m *Memory) learn(ctx context.Context, p *Policy, input map[string]any, shape []byte, a answer) {
	noted := noted{}
	again, err := p.Ask(ctx, noted.watch(input, ""), m.data)
	if err != nil || !reflect.DeepEqual(again, a.Decision) {
		return
	}
	leaves := slices.Sorted(maps.Keys(noted))
	key, err := appendLeaves(shape, input, leaves)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view(p, leaves).answers[string(key)] = a
	m.kept++
}

// view finds or makes one; where there are too many of anything, all begins
// anew. The caller holds mu.
func (m *Memory) view(p *Policy, leaves []string) *view {
	if m.kept >= maxAnswers || len(m.views) >= maxViews {
		m.views, m.kept = nil, 0
	}
	for _, v := range m.views {
		if v.policy == p && slices.Equal(v.leaves, leaves) {
			return v
		}
	}
	v := &view{p, leaves, map[string]answer{}}
	m.views = append(m.views, v)
	return v
}

// appendShape writes the names of all members, in one way only. Plain is false
// when paths could not tell some of them apart.
func appendShape(text []byte, members map[string]any) (out []byte, plain bool) {
	var room [64]string
	names := slices.AppendSeq(room[:0], maps.Keys(members))
	slices.Sort(names)
	text, plain = append(text, '{'), true
	for _, name := range names {
		plain = plain && !strings.Contains(name, separates)
		text, _ = plainjson.Append(text, name) // every string can be written
		if inner, ok := members[name].(map[string]any); ok {
			var also bool
			text, also = appendShape(text, inner)
			plain = plain && also
		}
	}
	return append(text, '}'), plain
}

// separates the names of a path.
const separates = "\x00"

// errText is of text that is not UTF-8, of which JSON tells only that.
var errText = errors.New("some of the input is not UTF-8")

// appendLeaves writes what stands at paths.
func appendLeaves(text []byte, members map[string]any, paths []string) ([]byte, error) {
	for _, path := range paths {
		v := any(members)
		for name := range strings.SplitSeq(path, separates) {
			inner, _ := v.(map[string]any)
			v = inner[name]
		}
		var err error
		if text, err = plainjson.Append(append(text, ','), v); err != nil {
			return nil, err
		}
	}
	if bytes.Contains(text, []byte(`\ufffd`)) {
		return nil, errText
	}
	return text, nil
}

// noted are the paths of the leaves that were looked at.
type noted map[string]bool

// watch is the input with leaves that tell when they are looked at: a lazy
// input converts what a policy wants of it, and nothing else. What has to be
// converted at once counts as looked at.
func (n noted) watch(members map[string]any, below string) map[string]any {
	out := make(map[string]any, len(members))
	for name, member := range members {
		path := below + name
		switch member := member.(type) {
		case map[string]any:
			out[name] = n.watch(member, path+separates)
		case nil, bool, string, int, int64, []string, map[string]string:
			out[name] = watched{member, path, n}
		default:
			n[path], out[name] = true, member
		}
	}
	return out
}

// A watched leaf is converted by its JSON.
type watched struct {
	value any
	path  string
	noted noted
}

// MarshalJSON implements json.Marshaler.
func (w watched) MarshalJSON() ([]byte, error) {
	w.noted[w.path] = true
	return json.Marshal(w.value)
}

// look is the value behind a leaf, which may be watched.
func look(v any) any {
	if w, ok := v.(watched); ok {
		w.noted[w.path] = true
		return w.value
	}
	return v
}
