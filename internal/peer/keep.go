package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

const (
	keepPace   = 2 * time.Second  // between looks at who is connected
	retryFirst = 2 * time.Second  // after a failure; then twice that, and so on
	retryLast  = 30 * time.Second // a healed partition is noticed this soon
	dialTime   = 10 * time.Second
	keepTag    = "listed"
)

// ErrAddress says that something is not the address of a peer.
var ErrAddress = errors.New("want a multiaddr that ends in /p2p/ID, as /ip4/192.0.2.7/tcp/4001/p2p/12D3Koo…")

// ParseAddress reads the address of a peer.
func ParseAddress(s string) (peer.AddrInfo, error) {
	info, err := peer.AddrInfoFromString(s)
	if err != nil || len(info.Addrs) == 0 {
		return peer.AddrInfo{}, fmt.Errorf("peer %.200q: %w", s, ErrAddress)
	}
	return *info, nil
}

// A keeper stays connected to the listed peers.
type keeper struct {
	host   host.Host
	config Config

	mu     sync.Mutex
	listed map[peer.ID]*listed // guarded by mu
}

type listed struct {
	info  peer.AddrInfo
	pause time.Duration // until the next try, if it fails again
	next  time.Time
	err   error // of the last try
}

func newKeeper(h host.Host, c Config) (*keeper, error) {
	k := &keeper{host: h, config: c, listed: map[peer.ID]*listed{}}
	for _, s := range c.Peers {
		info, err := ParseAddress(s)
		if err != nil {
			return nil, err
		}
		if info.ID != h.ID() { // a list that all nodes share names this one
			k.add(info)
		}
	}
	return k, nil
}

// add lists a peer; another address of one that is listed is added to it.
func (k *keeper) add(info peer.AddrInfo) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.listed[info.ID]
	if l == nil {
		l = &listed{info: peer.AddrInfo{ID: info.ID}}
		k.listed[info.ID] = l
	}
	l.info.Addrs = append(l.info.Addrs, info.Addrs...)
	l.pause, l.next = 0, time.Time{}
	k.host.ConnManager().Protect(info.ID, keepTag)
	k.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
}

func (k *keeper) remove(p peer.ID) {
	k.mu.Lock()
	delete(k.listed, p)
	k.mu.Unlock()
	k.host.ConnManager().Unprotect(p, keepTag)
	k.host.Peerstore().ClearAddrs(p)
	_ = k.host.Network().ClosePeer(p)
}

func (k *keeper) all() []peer.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.listed))
}

// get is what is known of a listed peer: its addresses, and why it could not
// be reached last.
func (k *keeper) get(p peer.ID) (peer.AddrInfo, error, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.listed[p]
	if l == nil {
		return peer.AddrInfo{}, nil, false
	}
	return l.info, l.err, true
}

// run keeps the connections until ctx ends.
func (k *keeper) run(ctx context.Context) {
	tick := time.NewTicker(keepPace)
	defer tick.Stop()
	for {
		k.connect(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// connect tries the peers whose time has come, all at once.
func (k *keeper) connect(ctx context.Context) {
	var wait sync.WaitGroup
	for _, info := range k.due() {
		wait.Go(func() { k.tried(info.ID, dial(ctx, k.host, info)) })
	}
	wait.Wait()
}

// dial tries a peer, however soon after it failed.
func dial(ctx context.Context, h host.Host, info peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if s, ok := h.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(info.ID) // the pauses are ours
	}
	return h.Connect(ctx, info)
}

func (k *keeper) due() []peer.AddrInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []peer.AddrInfo
	for id, l := range k.listed {
		if k.host.Network().Connectedness(id) != network.Connected && !k.config.Now().Before(l.next) {
			list = append(list, l.info)
		}
	}
	return list
}

func (k *keeper) tried(p peer.ID, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.listed[p]
	if l == nil {
		return
	}
	if l.err = err; err == nil {
		l.pause = 0
		return
	}
	l.pause = min(max(retryFirst, 2*l.pause), retryLast)
	l.next = k.config.Now().Add(l.pause)
}
