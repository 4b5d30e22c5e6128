package access

import (
	"hash/maphash"
	"sync"
	"time"
)

// A brake slows those who guess. It holds a fixed number of cells, to which
// sources and names are spread by a hash that nobody else knows: its memory is
// bounded whoever comes, and nobody is pushed out of it by others. Two that
// share a cell share its patience.
type brake struct {
	seed  maphash.Seed
	burst float64       // wrong guesses in a row that are free
	every time.Duration // after which a further one is

	mu    sync.Mutex
	cells [cells]cell // guarded by mu
}

const cells = 1 << 14

// A cell has the wrong guesses that are not forgiven yet, as of a time.
type cell struct {
	wrong float64
	at    time.Time
}

func newBrake(burst int, every time.Duration) *brake {
	return &brake{seed: maphash.MakeSeed(), burst: float64(burst), every: every}
}

func (b *brake) cell(key string) *cell { return &b.cells[maphash.String(b.seed, key)%cells] }

// wait is how long key has to wait before it may guess; 0 is not at all.
func (b *brake) wait(key string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	over := b.left(b.cell(key), now) - b.burst + 1
	return max(0, time.Duration(over*float64(b.every)))
}

// left is how many wrong guesses of c are not forgiven yet.
func (b *brake) left(c *cell, now time.Time) float64 {
	return max(0, c.wrong-float64(now.Sub(c.at))/float64(b.every))
}

// guess counts a guess as wrong.
func (b *brake) guess(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.cell(key)
	c.wrong, c.at = min(b.left(c, now)+1, 2*b.burst), now
}

// right takes back a guess that was right.
func (b *brake) right(key string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.cell(key)
	c.wrong, c.at = max(0, b.left(c, now)-1), now
}
