package broker

import (
	"errors"
	"sync"
	"time"
)

// A ratchet notices that the clock was set back. Tokens of before are then told
// from later ones by who was given them since: by their times they would be
// good again although their time was over.
type ratchet struct {
	life time.Duration // of tokens

	mu     sync.Mutex
	latest time.Time            // guarded by mu, as all below; the latest that was seen, by the clock on the wall
	since  map[string]time.Time // sessions since it was set back, and when their tokens end; nil: it was not
}

var errSetBack = errors.New("it was made before this broker's clock was set back: attest again")

// look takes the time. The caller holds mu.
func (r *ratchet) look(now time.Time) {
	switch set := now.Before(r.latest.Add(-tokenLeeway)); {
	case r.since == nil && set:
		r.since = map[string]time.Time{}
	case r.since == nil && now.After(r.latest), now.After(r.latest.Add(r.life)): // none of before is left
		r.latest, r.since = now, nil
	}
}

// issued is told of each token.
func (r *ratchet) issued(session string, now time.Time) {
	now = now.Round(0) // the wall's
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.look(now); r.since == nil {
		return
	}
	for s, end := range r.since {
		if !now.Before(end) {
			delete(r.since, s)
		}
	}
	r.since[session] = now.Add(r.life)
}

// check refuses a session of before.
func (r *ratchet) check(session string, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.look(now.Round(0)); r.since == nil {
		return nil
	}
	if _, ok := r.since[session]; !ok {
		return errSetBack
	}
	return nil
}
