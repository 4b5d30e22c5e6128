package peer

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// Above highPeers connections are closed, the least useful first, until
// lowPeers are left; listed peers stay.
const (
	lowPeers  = 64
	highPeers = 96
)

// userAgent is how a node calls its program, to all peers.
const userAgent = "holdfast"

// newHost makes the libp2p host: the fewest parts that a node needs. Nothing
// relays, maps ports of a router or asks others how it is seen.
func newHost(c Config, gate *gate) (host.Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("node's key: %w", err)
	}
	resources, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits()), rcmgr.WithMetricsDisabled())
	if err != nil {
		return nil, err
	}
	connections, err := connmgr.NewConnManager(lowPeers, highPeers)
	if err != nil {
		return nil, err
	}
	options := []libp2p.Option{
		libp2p.Identity(key), libp2p.UserAgent(userAgent),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(tls.ID, tls.New), libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.ResourceManager(resources), libp2p.ConnectionManager(connections), libp2p.ConnectionGater(gate),
		libp2p.DisableRelay(), libp2p.DisableMetrics(),
	}
	if c.SwarmKey != nil {
		options = append(options, libp2p.PrivateNetwork(c.SwarmKey[:]))
	} else {
		options = append(options, libp2p.Transport(quic.NewTransport)) // QUIC has no place for a swarm's key
	}
	if len(c.Listen) == 0 {
		return libp2p.New(append(options, libp2p.NoListenAddrs)...)
	}
	return libp2p.New(append(options, libp2p.ListenAddrStrings(c.Listen...))...)
}

// muxer is the library's, which notices after a shorter time that a wire is
// cut: until then the other side is asked in vain.
func muxer() *yamux.Transport {
	m := *yamux.DefaultTransport
	m.KeepAliveInterval = 10 * time.Second
	m.ConnectionWriteTimeout = 5 * time.Second
	return &m
}

// limits bounds what peers can make the node hold: the library's smallest
// defaults, and for one peer much less.
func limits() rcmgr.ConcreteLimitConfig {
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	one := rcmgr.ResourceLimits{
		Conns: 4, ConnsInbound: 2, ConnsOutbound: 4, Streams: 128, StreamsInbound: 64, StreamsOutbound: 64, Memory: 48 << 20,
	}
	all := rcmgr.ResourceLimits{Conns: 2 * highPeers, ConnsInbound: highPeers, Memory: 128 << 20}
	return rcmgr.PartialLimitConfig{System: all, PeerDefault: one}.Build(scaling.Scale(0, 0))
}
