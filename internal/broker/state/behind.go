package state

import (
	"context"
	"errors"
	"sync"
	"time"
)

// What handshakes leave is written behind them, many at once: each alone would
// take longer than all the cryptography of its handshake. A crash takes the
// last moment of it, whose machines attest again.
const (
	behindMost  = 128 // rows: whoever brings more writes them himself
	behindDelay = 50 * time.Millisecond
)

// behind are rows on their way.
type behind struct {
	turn sync.Mutex // of who writes them; taken before mu

	mu       sync.Mutex
	rows     []row             // guarded by mu, as all below
	attested map[string][]byte // by session, until they can be read from the file
	failed   bool              // the last time; until it goes well again, nothing is left to later
	timer    *time.Timer
}

// later adds rows soon. It returns an error only for what went wrong already:
// a full disk is no secret for longer than a moment.
func (s *Store) later(ctx context.Context, rows ...row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.behind.add(rows, s.writeLate) {
		return s.flush()
	}
	return nil
}

func (s *Store) writeLate() {
	if err := s.flush(); err != nil {
		s.cfg.Log.Error("broker's state: what handshakes left is not kept: their machines have to attest again", "error", err)
	}
}

// add tells whether rows have to be written now.
func (b *behind) add(rows []row, soon func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows) == 0 {
		b.timer = time.AfterFunc(behindDelay, soon)
	}
	b.rows = append(b.rows, rows...)
	for _, r := range rows {
		if r.table == attestedTable {
			b.attested[r.values[0].(string)] = r.values[2].([]byte)
		}
	}
	return b.failed || len(b.rows) >= behindMost
}

// flush returns when all is written that was added before.
func (s *Store) flush() error {
	s.behind.turn.Lock()
	defer s.behind.turn.Unlock()
	rows := s.behind.take()
	if len(rows) == 0 {
		return nil
	}
	err := s.writes.Do(step{rows: rows, lazy: true})
	s.behind.done(rows, err)
	return err
}

func (b *behind) take() []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := b.rows
	b.rows = nil
	if b.timer != nil {
		b.timer.Stop()
	}
	return rows
}

func (b *behind) done(rows []row, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err != nil
	for _, r := range rows {
		if r.table == attestedTable {
			delete(b.attested, r.values[0].(string))
		}
	}
}

// pending is a record that may not be in the file yet.
func (b *behind) pending(session string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attested[session]
}

// Close writes what is left to write and lets the file go. The last one to do
// so leaves it without a log beside.
func (s *Store) Close() error {
	var problems []error
	if s.writes != nil {
		problems = append(problems, s.flush())
	}
	return errors.Join(append(problems, s.closeAll())...)
}
