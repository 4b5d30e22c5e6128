package peer

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"

	"holdfast/internal/did"
)

// A Status is what a node says of itself and its peers.
type Status struct {
	ID        string   `json:"id"`  // PeerID
	DID       string   `json:"did"` // the same key
	Swarm     string   `json:"swarm"`
	DHT       DHT      `json:"dht"`
	Addresses []string `json:"addresses"` // with /p2p/ID, to be given to others
	Peers     []Peer   `json:"peers"`
}

// A Peer is a node that is connected, listed or kept out.
type Peer struct {
	ID        string        `json:"id"`
	DID       string        `json:"did,omitempty"` // absent when its key is not Ed25519
	Address   string        `json:"address,omitempty"`
	Listed    bool          `json:"listed"`
	Connected bool          `json:"connected"`
	Agent     string        `json:"agent,omitempty"` // as it calls its program
	Latency   time.Duration `json:"latency_ns,omitempty"`
	Sent      uint64        `json:"sent"`     // bytes of blocks, to it
	Received  uint64        `json:"received"` // bytes of blocks, from it
	Trouble   string        `json:"trouble,omitempty"`
}

// The swarms there are.
const (
	PrivateSwarm = "private"
	PublicSwarm  = "public"
)

// Identity names the holder of a key, as peers know it and as everybody else
// does.
func Identity(key ed25519.PublicKey) (id, name string, err error) {
	p, err := idOf(key)
	return p.String(), did.Key(key), err
}

// Listed is what is known of a listed peer without a node that runs.
func Listed(address string) Peer {
	p := Peer{Address: address, Listed: true}
	if info, err := ParseAddress(address); err == nil {
		p.ID = info.ID.String()
		if key, err := keyOf(info.ID); err == nil {
			p.DID = did.Key(key)
		}
	}
	return p
}

// Status describes the node as it is now; peers are in the order of their IDs.
func (n *Node) Status() Status {
	own := n.config.Key.Public().(ed25519.PublicKey)
	s := Status{
		ID: n.ID().String(), DID: did.Key(own), Swarm: PrivateSwarm, DHT: cmp.Or(n.config.DHT, NoDHT),
		Addresses: []string{}, Peers: []Peer{},
	}
	if n.config.SwarmKey == nil {
		s.Swarm = PublicSwarm
	}
	for _, a := range n.host.Addrs() {
		s.Addresses = append(s.Addresses, a.String()+"/p2p/"+s.ID)
	}
	for _, p := range n.known() {
		s.Peers = append(s.Peers, n.describe(p))
	}
	return s
}

// known lists every peer that Status tells of.
func (n *Node) known() []peer.ID {
	all := n.host.Network().Peers()
	for p := range n.gate.dropped() {
		all = append(all, p)
	}
	all = append(all, n.keeper.all()...)
	slices.Sort(all)
	return slices.Compact(all)
}

func (n *Node) describe(p peer.ID) Peer {
	receipt := n.exchange.LedgerForPeer(p)
	d := Peer{ID: p.String(), Connected: n.isConnected(p), Latency: n.host.Peerstore().LatencyEWMA(p),
		Agent: n.agent(p), Sent: receipt.Sent, Received: receipt.Recv}
	if key, err := keyOf(p); err == nil {
		d.DID = did.Key(key)
	}
	if conns := n.host.Network().ConnsToPeer(p); len(conns) > 0 {
		d.Address = conns[0].RemoteMultiaddr().String()
	}
	info, err, isListed := n.keeper.get(p)
	d.Listed = isListed
	if d.Address == "" && len(info.Addrs) > 0 {
		d.Address = info.Addrs[0].String()
	}
	switch reason := n.gate.closed(p); {
	case reason != "":
		d.Trouble = "dropped: it " + reason
	case err != nil && !d.Connected:
		d.Trouble = err.Error()
	}
	return d
}

// agent is what a peer calls its program, if it said so.
func (n *Node) agent(p peer.ID) string {
	value, err := n.host.Peerstore().Get(p, "AgentVersion")
	if err != nil {
		return ""
	}
	agent, _ := value.(string)
	return agent
}

// Add lists a peer from now on. One that was dropped gets another chance.
func (n *Node) Add(address string) error {
	info, err := ParseAddress(address)
	if err != nil {
		return err
	}
	if info.ID == n.ID() {
		return fmt.Errorf("peer %s: that is this node", info.ID)
	}
	n.gate.open(info.ID)
	n.keeper.add(info)
	return nil
}

// ErrUnknownPeer says that a peer is not listed.
var ErrUnknownPeer = errors.New("no such peer is listed")

// Remove lists a peer no more, and disconnects from it.
func (n *Node) Remove(id string) error {
	p, err := peer.Decode(id)
	if err != nil {
		return fmt.Errorf("peer %.80q: want its ID, as 12D3Koo…", id)
	}
	if _, _, listed := n.keeper.get(p); !listed {
		return fmt.Errorf("%s: %w", p, ErrUnknownPeer)
	}
	n.lan.forget(p)
	n.keeper.remove(p)
	return nil
}

// Ping connects to a peer, known by its ID or by an address, and measures how
// long an answer takes.
func (n *Node) Ping(ctx context.Context, whom string) (time.Duration, error) {
	info, err := ParseAddress(whom)
	if err != nil {
		if info.ID, err = peer.Decode(whom); err != nil {
			return 0, fmt.Errorf("peer %.200q: want its ID, as 12D3Koo…, or an address that ends in it", whom)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if err := n.host.Connect(ctx, info); err != nil {
		return 0, fmt.Errorf("ping %s: %w", info.ID, err)
	}
	select {
	case r := <-ping.Ping(network.WithNoDial(ctx, "connected"), n.host, info.ID):
		if r.Error != nil {
			return 0, fmt.Errorf("ping %s: %w", info.ID, r.Error)
		}
		return r.RTT, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("ping %s: %w", info.ID, ctx.Err())
	}
}
