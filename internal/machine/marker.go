package machine

import (
	"bytes"
	"sync"
	"time"
)

// A Marker waits for a text in what is written to it, and notes when it came.
// As Spec.Console or as a workload's output it measures how long a machine
// takes to get somewhere.
type Marker struct {
	text []byte
	seen chan struct{}

	mu   sync.Mutex
	tail []byte    // guarded by mu, as is at
	at   time.Time // zero until seen
}

// NewMarker gives a marker for a text that is not empty.
func NewMarker(text string) *Marker {
	return &Marker{text: []byte(text), seen: make(chan struct{})}
}

// Write looks for the text; it never fails.
func (m *Marker) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.at.IsZero() {
		return len(p), nil
	}
	m.tail = append(m.tail, p...)
	if bytes.Contains(m.tail, m.text) {
		m.at, m.tail = time.Now(), nil
		close(m.seen)
		return len(p), nil
	}
	if keep := len(m.text) - 1; len(m.tail) > keep {
		m.tail = append(m.tail[:0], m.tail[len(m.tail)-keep:]...)
	}
	return len(p), nil
}

// Seen is closed when the text has come.
func (m *Marker) Seen() <-chan struct{} { return m.seen }

// After tells how long after start the text came; 0 when it has not yet.
func (m *Marker) After(start time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() {
		return 0
	}
	return m.at.Sub(start)
}
