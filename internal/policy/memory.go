package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
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

	mu   sync.Mutex
	from map[*Policy]*remembered // guarded by mu, as is all that it leads to
}

// remembered is what is known of one policy.
type remembered struct {
	views []*view
	kept  int // answers
	vain  int // that were allowed since one was known
}

// A view is what a policy looked at. Its leaves never change.
type view struct {
	leaves  []string            // paths, sorted
	answers map[standing]answer // by what stood there
}

// standing is the SHA-256 of a shape, of what is beside the data, and of what stands at leaves: a machine
// may send much, and a Memory is to stay small.
type standing [sha256.Size]byte

type answer struct {
	Decision
	data *Data // that noted what was read
}

// Bounds on what is remembered of each policy. Of those that look at a nonce,
// nothing is ever known: after so many questions in vain no more is tried.
const (
	maxAnswers = 4096
	maxViews   = 16
	patience   = 512
)

// Remember makes a Memory of answers over data.
func Remember(data *Data) *Memory {
	return &Memory{data: data, from: map[*Policy]*remembered{}}
}

// Ask is Policy.Ask over the memory's data and about, which is beside it. It
// returns the data, which noted the places that the policy read. Nobody may alter
// an answer: others get the same. An answer is known for the very same about.
func (m *Memory) Ask(ctx context.Context, p *Policy, input, about map[string]any) (Decision, *Data, error) {
	var room [1 << 10]byte
	shape, plain, err := appendQuestion(room[:0], input, about)
	if plain = plain && err == nil && !p.clock; plain {
		if a, ok := m.known(p, input, shape); ok {
			return a.Decision, a.data, nil
		}
	}
	data, err := m.with(about)
	if err != nil {
		return Decision{}, m.data, err
	}
	noting := data.Noting()
	d, err := p.Ask(ctx, input, noting)
	if err == nil && d.Allow && plain && m.hopeful(p) {
		m.learn(ctx, p, question{input, data, shape}, answer{d, noting})
	}
	return d, noting, err
}

func (m *Memory) with(about map[string]any) (*Data, error) {
	if about == nil {
		return m.data, nil
	}
	d, err := m.data.With(about)
	if err == nil { // of each answer: its text is not kept, of which it shares the parts
		fields := d.fields
		d.text = func() ([]byte, error) { return appendFields([]byte{'{'}, fields) }
	}
	return d, err
}

// A question is one that may be answered again.
type question struct {
	input map[string]any
	data  *Data
	shape []byte
}

// appendQuestion writes all of a question but the leaves of its input.
func appendQuestion(text []byte, input, about map[string]any) (shape []byte, plain bool, err error) {
	text, plain = appendShape(text, input)
	if about != nil { // behind a whole shape, and before the first comma
		text, err = plainjson.Append(append(text, '|'), about)
	}
	return text, plain, err
}

func (m *Memory) known(p *Policy, input map[string]any, shape []byte) (answer, bool) {
	for _, v := range m.views(p) {
		key, err := standingAt(shape, input, v.leaves)
		if err != nil {
			continue
		}
		if a, ok := m.answer(p, v, key); ok {
			return a, true
		}
	}
	return answer{}, false
}

// views are as they are now, for who holds no lock.
func (m *Memory) views(p *Policy) []*view {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.of(p).views)
}

func (m *Memory) answer(p *Policy, v *view, key standing) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := v.answers[key]
	if ok {
		m.of(p).vain = 0
	}
	return a, ok
}

// hopeful counts one more that was allowed and not known.
func (m *Memory) hopeful(p *Policy) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(p)
	r.vain++
	return r.vain < patience
}

// learn asks again with an input that notes what is looked at, and keeps the
// answer if it is the same.
func (m *Memory) learn(ctx context.Context, p *Policy, q question, a answer) {
	noted := noted{}
	again, err := p.Ask(ctx, noted.watch(q.input, ""), q.data)
	if err != nil || !reflect.DeepEqual(again, a.Decision) {
		return
	}
	leaves := slices.Sorted(maps.Keys(noted))
	key, err := standingAt(q.shape, q.input, leaves)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.of(p)
	r.view(leaves).answers[key] = a
	r.kept++
}

// of is what is known of a policy. The caller holds mu.
func (m *Memory) of(p *Policy) *remembered {
	r, ok := m.from[p]
	if !ok {
		r = &remembered{}
		m.from[p] = r
	}
	return r
}

// view finds or makes one; where there are too many of anything, all begins
// anew. The caller holds mu.
func (r *remembered) view(leaves []string) *view {
	if r.kept >= maxAnswers || len(r.views) >= maxViews {
		r.views, r.kept = nil, 0
	}
	for _, v := range r.views {
		if slices.Equal(v.leaves, leaves) {
			return v
		}
	}
	v := &view{leaves, map[standing]answer{}}
	r.views = append(r.views, v)
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
		text = plainjson.AppendString(text, name)
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

// standingAt is the key to an answer.
func standingAt(shape []byte, members map[string]any, paths []string) (standing, error) {
	text, err := appendLeaves(shape, members, paths)
	return sha256.Sum256(text), err
}

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
