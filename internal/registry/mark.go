package registry

import (
	"errors"
	"os"
	"sync"

	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// mark finds what the manifests of a repository need, and which of them
// nothing leads to.
func (c *collection) mark(name string) (needed map[oci.Digest]bool, surplus []oci.Digest, err error) {
	m := marking{registry: c.registry, name: name, needed: map[oci.Digest]bool{}, documents: map[oci.Digest]bool{}}
	var all []oci.Digest
	var roots []oci.Digest
	err = c.registry.index.Each(name, func(e index.Entry, tags []string) error {
		all = append(all, e.Digest)
		if len(tags) > 0 || !c.Untagged || !c.isOld(name, e.Digest) {
			roots = append(roots, e.Digest)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, d := range roots {
		if err := m.manifest(d); err != nil {
			return nil, nil, err
		}
	}
	for _, d := range all {
		if !m.documents[d] {
			surplus = append(surplus, d)
		}
	}
	return m.needed, surplus, nil
}

func (c *collection) isOld(name string, d oci.Digest) bool {
	info, err := os.Lstat(c.registry.link(name, d))
	return err == nil && pool.Changed(info).Before(c.before)
}

// A marking follows manifests to what they need, and to those who refer to
// them.
type marking struct {
	registry  *Registry
	name      string
	needed    map[oci.Digest]bool
	documents map[oci.Digest]bool
}

func (m *marking) manifest(d oci.Digest) error {
	todo := []oci.Digest{d}
	for len(todo) > 0 {
		d, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if m.documents[d] {
			continue
		}
		e, err := m.registry.index.Manifest(m.name, d)
		if errors.Is(err, index.ErrNotFound) { // a child that was never pushed, or was deleted
			m.needed[d] = true
			continue
		}
		if err != nil {
			return err
		}
		m.documents[d], m.needed[d] = true, true
		more, err := m.follow(e)
		if err != nil {
			return err
		}
		todo = append(todo, more...)
	}
	return nil
}

// follow gives the manifests that one leads to, and notes its blobs. One that
// cannot be read is an error: what it needs is not known.
func (m *marking) follow(e index.Entry) (more []oci.Digest, err error) {
	found, err := m.registry.read(m.name, e, "")
	if err != nil {
		return nil, err
	}
	parsed, err := parseDocument(e.MediaType, found.Body)
	if err != nil {
		return nil, err
	}
	for _, d := range parsed.Manifests {
		more = append(more, d.Digest)
	}
	for _, d := range parsed.every() {
		m.needed[d.Digest] = true
	}
	err = m.registry.index.Referrers(m.name, e.Digest, "", func(e index.Entry) bool {
		more = append(more, e.Digest)
		return true
	})
	return more, err
}

// spared are the blobs that were linked or asked for since a collection began.
type spared struct {
	mu    sync.Mutex
	blobs map[oci.Digest]bool // nil when none is under way
}

func (s *spared) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs = map[oci.Digest]bool{}
}

func (s *spared) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs = nil
}

func (s *spared) add(d oci.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs != nil {
		s.blobs[d] = true
	}
}

func (s *spared) has(d oci.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[d]
}
