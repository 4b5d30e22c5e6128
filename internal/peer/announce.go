package peer

import (
	"context"
	"errors"
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
)

// An announcer tells the DHT what the node has: each blob when it is stored,
// and all of them again before their records get old. Blobs that do not fit
// into the queue wait for the next round.
type announcer struct {
	routing router
	config  Config
	queue   chan oci.Digest
}

func newAnnouncer(r router, c Config) *announcer {
	return &announcer{routing: r, config: c, queue: make(chan oci.Digest, maxQueue)}
}

func (a *announcer) add(d oci.Digest) {
	select {
	case a.queue <- d:
	default:
		a.config.Logger.Debug("blob announced later: queue is full", "digest", d)
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

// rounds announces everything, now and then. It waits for the workers, so
// that a round takes no memory, whatever the store holds.
func (a *announcer) rounds(ctx context.Context) {
	for wait := firstRound; ; wait = reprovideTime {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := a.config.Blobs(ctx, func(d oci.Digest) error {
			select {
			case a.queue <- d:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if err != nil && ctx.Err() == nil {
			a.config.Logger.Error("blobs not announced", "cause", err)
		}
	}
}

// announce writes the provider records of d: by its digest, which is what
// pulls know, and by its root, which is what IPFS knows.
func (a *announcer) announce(ctx context.Context, d oci.Digest) {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	name, err := ipfs.DigestCID(d)
	if err != nil {
		return
	}
	dag, err := a.config.Store.DAG(ctx, d)
	if err != nil {
		a.config.Logger.Debug("blob not announced", "digest", d, "cause", err) // gone meanwhile
		return
	}
	names := []cid.Cid{name}
	if dag.Root.Defined() && !dag.Root.Equals(name) {
		names = append(names, dag.Root)
	}
	var all error
	for _, c := range names {
		all = errors.Join(all, a.routing.Provide(ctx, c, true))
	}
	if all != nil {
		a.config.Logger.Debug("blob not announced", "digest", d, "cause", all)
	}
}
