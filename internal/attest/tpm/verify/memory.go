package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
	"time"
)

// memorySize bounds each of the things that a Verifier remembers; the oldest
// are forgotten first.
const memorySize = 4096

// A memory keeps the latest memorySize values by key.
type memory[K comparable, V any] struct {
	mu    sync.Mutex // guards all below
	all   map[K]V
	order []K // a ring, once it is full
	next  int
}

func (m *memory[K, V]) get(key K) (V, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.all[key]
	return v, ok
}

func (m *memory[K, V]) put(key K, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[K]V{}
	}
	if _, known := m.all[key]; !known {
		if len(m.order) < memorySize {
			m.order = append(m.order, key)
		} else {
			delete(m.all, m.order[m.next])
			m.order[m.next] = key
			m.next = (m.next + 1) % memorySize
		}
	}
	m.all[key] = value
}

// An endorsement is a certificate that was found good, and will be until then.
type endorsement struct {
	cert   *x509.Certificate
	device map[string]string
	until  time.Time
	above  [][]byte // DER of those between it and a root, in their order
}

// endorsements spare checking the chain of a machine that comes again.
type endorsements struct {
	memory[[sha256.Size]byte, *endorsement]
}

func (e *endorsements) get(id [sha256.Size]byte, now time.Time) *endorsement {
	known, ok := e.memory.get(id)
	if !ok || now.After(known.until) || now.Before(known.cert.NotBefore) {
		return nil
	}
	return known
}
