package peer

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A DHT is where nodes write down who has what.
type DHT string

const (
	NoDHT      DHT = "off"     // only connected peers are asked
	PrivateDHT DHT = "private" // kept by the nodes of the swarm, for one another
	PublicDHT  DHT = "public"  // that of IPFS: the world can see what this node has
)

// A router finds peers that have a blob, and tells them that we do.
type router interface {
	FindProvidersAsync(ctx context.Context, c cid.Cid, most int) <-chan peer.AddrInfo
	Provide(ctx context.Context, c cid.Cid, announce bool) error
	Close() error
	ready() bool // somebody is there to be told
}

func newRouter(ctx context.Context, h host.Host, c Config) (router, error) {
	switch c.DHT {
	case PrivateDHT:
		return newTable(ctx, h, privateDHT(c)...)
	case PublicDHT: // as a client: it keeps nothing for others
		return newTable(ctx, h, dht.Mode(dht.ModeClient), dht.BootstrapPeers(dht.GetDefaultBootstrapPeerAddrInfos()...))
	case NoDHT, "":
		return noRouter{}, nil
	}
	return nil, fmt.Errorf("DHT %q: want %s, %s or %s", c.DHT, NoDHT, PrivateDHT, PublicDHT)
}

// privateDHT speaks the protocol that IPFS nodes speak on a local network, so
// that they find what we have in a swarm of both. It keeps provider records
// only, and a bounded number of them.
func privateDHT(c Config) []dht.Option {
	return []dht.Option{
		dht.ProtocolExtension("/lan"), dht.Mode(dht.ModeServer), dht.DisableValues(),
		dht.ProviderStore(newRecords(c.Now)),
	}
}

// A table is a DHT.
type table struct{ *dht.IpfsDHT }

func newTable(ctx context.Context, h host.Host, options ...dht.Option) (router, error) {
	d, err := dht.New(ctx, h, options...)
	return table{d}, err
}

func (t table) ready() bool { return t.RoutingTable().Size() > 0 }

type noRouter struct{}

func (noRouter) FindProvidersAsync(context.Context, cid.Cid, int) <-chan peer.AddrInfo {
	none := make(chan peer.AddrInfo)
	close(none)
	return none
}

func (noRouter) Provide(context.Context, cid.Cid, bool) error { return nil }
func (noRouter) ready() bool                                  { return false }
func (noRouter) Close() error                                 { return nil }
