package state

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"
)

// What handshakes leave is written behind them, many at once: each alone would
// take longer than all the cryptography of its handshake. A crash takes the
// last moment of it, whose machines attest again.
const (
	behindMost  = 256 // records: whoever brings more writes them himself
	behindDelay = 50 * time.Millisecond
	behindAgain = time.Second // what could not be written is tried again, if no record comes before
)

// A load is records on their way, in bundles.
type load struct {
	attested, decisions []*bundle
	records             int
	most                int // attested ones that are kept
}

// behind are records on their way.
type behind struct {
	turn sync.Mutex // of who writes them; taken before mu

	delay time.Duration // behindDelay, but for tests

	mu       sync.Mutex
	load     load            // guarded by mu, as all below
	attested map[string]spot // by session, until they can be read from the file
	spare    spare
	failed   bool // the last time; until it goes well again, nothing is left to later
	closed   bool // nothing is tried again
	timer    *time.Timer
}

// later writes soon what add adds. It returns an error only for what went wrong
// already: a full disk is no secret for longer than a moment.
func (s *Store) later(ctx context.Context, add func(b *behind)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.behind.add(add, s.writeLate) {
		return s.flush()
	}
	return nil
}

func (s *Store) writeLate() {
	s.behind.mu.Lock()
	told := s.behind.failed
	s.behind.mu.Unlock()
	if err := s.flush(); err != nil && !told {
		s.cfg.Log.Error("broker's state: what handshakes left is not written: if it stays so, their machines have to attest again", "error", err)
	}
}

// add tells whether the load has to be written now.
func (b *behind) add(add func(b *behind), soon func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.load.records == 0 {
		b.timer = time.AfterFunc(b.delay, soon)
	}
	add(b)
	return b.failed || b.load.records >= behindMost
}

// few are as many as may be in a bundle of what at most most are kept of: all of
// it goes at once.
func few(most, limit int) int { return min(max(most/100, 1), limit) }

// together are attested records in a bundle, at most: who reads one reads all.
const together = 8

// The caller holds mu, as for the next.
func (b *behind) keepAttested(session string, record []byte, until int64, most int) {
	b.attested[session] = into(&b.load.attested, &b.spare.attested, len(record), few(most, together), until).add(session, record)
	b.load.records, b.load.most = b.load.records+1, most
}

func (b *behind) keepDecision(session string, record []byte, most int, bytes int64) {
	const inOne = 64
	if int64(len(record)) > bytes/100 {
		most = 1
	}
	into(&b.load.decisions, &b.spare.decisions, len(record), few(most, inOne), 0).add(session, record)
	b.load.records++
}

// into is a bundle with room.
func into(all, spare *[]*bundle, size, most int, until int64) *bundle {
	if n := len(*all); n > 0 && (*all)[n-1].takes(size, most, until) {
		return (*all)[n-1]
	}
	fresh := &bundle{}
	if n := len(*spare); n > 0 {
		fresh, *spare = (*spare)[n-1], (*spare)[:n-1]
	}
	fresh.until = until
	*all = append(*all, fresh)
	return fresh
}

// flush returns when all is written that was added before.
func (s *Store) flush() error {
	s.behind.turn.Lock()
	defer s.behind.turn.Unlock()
	l := s.behind.take()
	if l.records == 0 {
		return nil
	}
	err := s.writes.Do(step{load: &l, lazy: true})
	s.behind.done(l, err, s.writeLate)
	return err
}

func (b *behind) take() load {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.load
	b.load = load{}
	if b.timer != nil {
		b.timer.Stop()
	}
	return l
}

// spare are bundles whose room is used again.
type spare struct{ attested, decisions []*bundle }

// maxSpare bounds the spare ones of each kind.
const maxSpare = 32

func (b *behind) done(l load, err error, soon func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err != nil
	if b.failed && b.load.records+l.records <= 2*behindMost { // the next one has them
		if !b.closed {
			b.timer = time.AfterFunc(behindAgain, soon)
		}
		b.load.attested, b.load.decisions = append(l.attested, b.load.attested...), append(l.decisions, b.load.decisions...)
		b.load.records, b.load.most = b.load.records+l.records, max(b.load.most, l.most)
		return
	}
	for _, done := range l.attested {
		for _, name := range done.names {
			if b.attested[name].in == done {
				delete(b.attested, name)
			}
		}
		b.spare.attested = done.put(b.spare.attested)
	}
	for _, done := range l.decisions {
		b.spare.decisions = done.put(b.spare.decisions)
	}
}

// put leaves the room to another bundle. Spots in this one lead nowhere else.
func (b *bundle) put(spare []*bundle) []*bundle {
	if len(spare) >= maxSpare || cap(b.text) > 2*maxBundle {
		return spare
	}
	clear(b.names)
	return append(spare, &bundle{text: b.text[:0], names: b.names[:0]})
}

// pending is a record that may not be in the file yet.
func (b *behind) pending(session string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.attested[session]
	if !ok {
		return nil
	}
	return bytes.Clone(at.in.text[at.from:at.to])
}

// has tells whether a record is pending.
func (b *behind) has(session string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.attested[session]
	return ok
}

// Close writes what is left to write and lets the file go. The last one to do
// so leaves it without a log beside.
func (s *Store) Close() error {
	var problems []error
	s.behind.mu.Lock()
	s.behind.closed = true
	s.behind.mu.Unlock()
	if s.writes != nil {
		problems = append(problems, s.flush())
	}
	return errors.Join(append(problems, s.closeAll())...)
}
