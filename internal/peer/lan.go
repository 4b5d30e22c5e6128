package peer

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// A lan finds nodes on the local network, when that is wanted: it tells
// everybody there that this node exists.
type lan struct {
	host    host.Host
	service mdns.Service // nil: off
	ctx     context.Context
	cancel  context.CancelFunc
	dials   sync.WaitGroup
	slots   chan struct{}
}

// maxDials bounds what a flood of announcements makes us do.
const maxDials = 4

func newLAN(h host.Host, c Config) *lan {
	l := &lan{host: h, slots: make(chan struct{}, maxDials)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if c.MDNS {
		l.service = mdns.NewMdnsService(h, "", l)
	}
	return l
}

func (l *lan) start() error {
	if l.service == nil {
		return nil
	}
	return l.service.Start()
}

// HandlePeerFound connects to a node that was heard. One of another swarm is
// not understood, and given up.
func (l *lan) HandlePeerFound(info peer.AddrInfo) {
	if info.ID == l.host.ID() || len(l.host.Network().ConnsToPeer(info.ID)) > 0 {
		return
	}
	select {
	case l.slots <- struct{}{}:
	default:
		return // it will be heard again
	}
	l.dials.Go(func() {
		defer func() { <-l.slots }()
		ctx, cancel := context.WithTimeout(l.ctx, dialTime)
		defer cancel()
		_ = l.host.Connect(ctx, info)
	})
}

func (l *lan) close() error {
	l.cancel()
	var err error
	if l.service != nil {
		err = l.service.Close()
	}
	l.dials.Wait()
	return err
}
