package peer

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

const (
	maxQueue        = 4096           // blobs that wait to be announced
	announceWorkers = 4              // announced at the same time
	announceTime    = time.Minute    // for one
	reprovideTime   = 22 * time.Hour // before records of 48 hours are old, with a margin for a missed round
	firstRound      = time.Minute    // after the start, when there are peers to tell
	missedPace      = 2 * time.Second
	missedPause     = time.Minute // between rounds for what could not be announced
)

// An announcer tells the DHT what the node has: each blob when it is stored,
// and all of them again before their records get old. Blobs that do not fit
// into the queue, or that nobody was there to be told of, wait for a round
// that begins when somebody is.
type announcer struct {
	routing router
	config  Config
	queue   chan oci.Digest
	missed  atomic.Bool
}

func newAnnouncer(r router, c Config) *announcer {
	return &announcer{routing: r, config: c, queue: make(chan oci.Digest, maxQueue)}
}

func (a *announcer) add(d oci.Digest) {
	select {
	case a.queue <- d:
	default:
		a.missed.Store(true)
	}
}

// run announces until ctx ends.
func (a *announcer) run(ctx context.Context) {
	done := make(chan struct{})
	for range announceWorkers {
		go func() {
			defer func() { done <- struct{}{} }()
			a.work(ctx)
		}()
	}
	if a.config.Blobs != nil {
		a.rounds(ctx)
	}
	for range announceWorkers {
		<-done
	}
}

func (a *announcer) work(ctx context.Context) {
	for {
		select {
		case d := <-a.queue:
			a.announce(ctx, d)
		case <-ctx.Done():
			return
		}
	}
}

// rounds announces everything, now and then.
func (a *announcer) rounds(ctx context.Context) {
	tick := time.NewTicker(missedPace)
	defer tick.Stop()
	next, pause := a.config.Now().Add(firstRound), time.Time{}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := a.config.Now()
		again := a.missed.Load() && a.routing.ready() && now.After(pause)
		if !again && now.Before(next) {
			continue
		}
		a.missed.Store(false)
		if err := a.round(ctx); err != nil && ctx.Err() == nil {
			a.config.Logger.Error("blobs not announced", "cause", err)
		}
		next, pause = now.Add(reprovideTime), now.Add(missedPause)
	}
}

// round waits for the workers, so that it takes no memory, whatever the store
// holds.
func (a *announcer) round(ctx context.Context) error {
	return a.config.Blobs(ctx, func(d oci.Digest) error {
		select {
		case a.queue <- d:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// announce writes the provider records of d: by its digest, which is what
// pulls know, and by its root, which is what IPFS knows, once there is one.
func (a *announcer) announce(ctx context.Context, d oci.Digest) {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	name, err := ipfs.DigestCID(d)
	if err != nil {
		return
	}
	root, err := a.config.Store.Root(d)
	if err != nil {
		a.config.Logger.Debug("blob not announced", "digest", d, "cause", err) // gone meanwhile
		return
	}
	names := []cid.Cid{name}
	if root.Defined() && !root.Equals(name) {
		names = append(names, root)
	}
	var all error
	for _, c := range names {
		all = errors.Join(all, a.routing.Provide(ctx, c, true))
	}
	if all != nil {
		a.missed.Store(true)
		a.config.Logger.Debug("blob not announced", "digest", d, "cause", all)
	}
}
