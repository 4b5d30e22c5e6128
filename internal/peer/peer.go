// Package peer finds blobs at other nodes, and gives them what we have.
//
// A node is known by its key, and a blob by its hash; so a peer needs no
// trust, only to be dropped when it lies. What comes from peers is checked
// block by block and as a whole before anybody sees it. Nodes that share a
// swarm key are a private swarm: without it nobody can ask, and nothing is
// announced outside.
//
// The wire is libp2p and Bitswap, as IPFS speaks them; docs/formats/ipfs.md
// says how a blob's digest leads to its blocks.
package peer

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"holdfast/internal/blob/ipfs"
	"holdfast/internal/oci"
)

// A Store has the blobs that peers may have, too.
type Store interface {
	blockstore.Blockstore
	// DAG says under which root a blob is found, and how long it is. It wraps
	// blob.ErrNotFound when there is no such blob.
	DAG(ctx context.Context, d oci.Digest) (ipfs.DAG, error)
	// Root is that root if it is known already, else undefined.
	Root(d oci.Digest) (cid.Cid, error)
}

// Blobs names every blob that there is.
type Blobs func(ctx context.Context, visit func(oci.Digest) error) error

// Config says who a node is and whom it knows.
type Config struct {
	Key      ed25519.PrivateKey
	SwarmKey *[32]byte // nil: the public swarm
	Store    Store
	Blobs    Blobs    // what is announced again and again; nil: only what Stored names is announced
	Listen   []string // multiaddrs; none: the node is not reachable, but reaches others
	Peers    []string // multiaddrs that end in /p2p/ID, kept connected
	DHT      DHT
	MDNS     bool   // announces the node on the local network, and finds others there
	MaxBlob  int64  // bytes; 16 GiB when 0
	TempDir  string // for blobs until they are verified; the system's when empty
	Logger   *slog.Logger
	Now      func() time.Time
}

// ErrNotFound says that no peer has a blob.
var ErrNotFound = errors.New("no peer has it")

// A Node is one of a swarm.
type Node struct {
	config   Config
	host     host.Host
	gate     *gate
	network  bsnetwork.BitSwapNetwork
	exchange *bitswap.Bitswap
	asked    *asked
	wants    *wants
	routing  router
	keeper   *keeper
	announce *announcer
	lan      *lan

	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// New starts a node. It ends with Close.
func New(c Config) (*Node, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("peer: %w", err)
	}
	n := &Node{config: c, gate: newGate(c.Now), asked: newAsked(), wants: newWants()}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("peer: %w", err), n.Close())
	}
	return n, nil
}

func (c Config) withDefaults() Config {
	if c.MaxBlob <= 0 {
		c.MaxBlob = 16 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) check() error {
	switch {
	case len(c.Key) != ed25519.PrivateKeySize:
		return errors.New("no key given")
	case c.Store == nil:
		return errors.New("no store given")
	case c.SwarmKey != nil && c.DHT == PublicDHT:
		return errors.New("a private swarm cannot use the public DHT")
	}
	return nil
}

func (n *Node) start(ctx context.Context) (err error) {
	if n.host, err = newHost(n.config, n.gate); err != nil {
		return err
	}
	if n.keeper, err = newKeeper(n.host, n.config); err != nil {
		return err
	}
	if n.routing, err = newRouter(ctx, n.host, n.config); err != nil {
		return err
	}
	n.network = bsnet.NewFromIpfsHost(n.host)
	n.exchange = bitswap.New(ctx, n.network, nil, n.config.Store, exchangeOptions(n)...)
	n.host.SetStreamHandler(dagProtocol, func(s network.Stream) { n.answerDAG(ctx, s) })
	n.announce = newAnnouncer(n.routing, n.config)
	n.lan = newLAN(n.host, n.config)
	if err := n.lan.start(); err != nil {
		return err
	}
	n.run(func() { n.lan.run(ctx) })
	n.run(func() { n.keeper.run(ctx) })
	n.run(func() { n.announce.run(ctx) })
	return nil
}

func (n *Node) run(task func()) { n.tasks.Go(task) }

// exchangeOptions are Bitswap's bounds: how much a peer may want, and how
// much of it is read and under way at a time.
func exchangeOptions(n *Node) []bitswap.Option {
	return []bitswap.Option{
		bitswap.WithTracer(&tap{n}),
		bitswap.WithoutDuplicatedBlockStats(),
		bitswap.MaxQueuedWantlistEntriesPerPeer(1024),
		bitswap.MaxOutstandingBytesPerPeer(4 << 20),
		bitswap.EngineBlockstoreWorkerCount(8),
		bitswap.TaskWorkerCount(4),
		bitswap.EngineTaskWorkerCount(4),
	}
}

// ID is the node's name among peers.
func (n *Node) ID() peer.ID { return n.host.ID() }

// Stored says that a blob is there now, for others to be told. It does not
// block.
func (n *Node) Stored(d oci.Digest) { n.announce.add(d) }

// Close leaves the swarm and waits for all that New started.
func (n *Node) Close() error {
	n.cancel()
	var err error
	if n.lan != nil {
		err = n.lan.close()
	}
	if n.exchange != nil {
		err = errors.Join(err, n.exchange.Close())
	}
	n.tasks.Wait()
	if n.routing != nil {
		err = errors.Join(err, n.routing.Close())
	}
	if n.host != nil {
		err = errors.Join(err, n.host.Close())
	}
	return err
}
