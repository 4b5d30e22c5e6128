package peer

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// records keeps provider records that peers hand in: the last ones of each
// blob, and no more blobs than it has room for. A record that is lost is
// handed in again when its node reprovides.
type records struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string][]record // guarded by mu: by multihash, the oldest first
}

type record struct {
	info peer.AddrInfo
	at   time.Time
}

const (
	maxRecords    = 32 << 10 // blobs
	maxProvidedBy = 8        // nodes of one blob
	maxAddresses  = 4        // of one node
	recordTime    = 48 * time.Hour
)

func newRecords(now func() time.Time) *records {
	return &records{now: now, known: map[string][]record{}}
}

// AddProvider writes down that a node has the blob with this multihash.
func (r *records) AddProvider(_ context.Context, key []byte, by peer.AddrInfo) error {
	by.Addrs = by.Addrs[:min(len(by.Addrs), maxAddresses)]
	r.mu.Lock()
	defer r.mu.Unlock()
	list, known := r.known[string(key)]
	if !known && len(r.known) >= maxRecords {
		r.makeRoom()
	}
	kept := make([]record, 0, len(list)+1)
	for _, have := range list {
		if have.info.ID != by.ID && r.now().Sub(have.at) < recordTime {
			kept = append(kept, have)
		}
	}
	kept = append(kept, record{by, r.now()})
	r.known[string(key)] = kept[max(0, len(kept)-maxProvidedBy):]
	return nil
}

// makeRoom forgets the oldest of a few blobs: map order is random enough that
// nobody chooses whose. Caller holds mu.
func (r *records) makeRoom() {
	const sample = 8
	oldest, at, seen := "", time.Time{}, 0
	for key, list := range r.known {
		if last := list[len(list)-1].at; oldest == "" || last.Before(at) {
			oldest, at = key, last
		}
		if seen++; seen == sample {
			break
		}
	}
	delete(r.known, oldest)
}

// GetProviders gives the nodes that have the blob.
func (r *records) GetProviders(_ context.Context, key []byte) ([]peer.AddrInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []peer.AddrInfo
	for _, have := range r.known[string(key)] {
		if r.now().Sub(have.at) < recordTime {
			list = append(list, have.info)
		}
	}
	return list, nil
}

// Close forgets them.
func (r *records) Close() error { return nil }
