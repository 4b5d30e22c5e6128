package wiring

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/peer"
	"holdfast/internal/peer/control"
)

// ErrNotServing says that no process serves the installation with a swarm.
var ErrNotServing = errors.New("no holdfast serve with a swarm runs here")

// node speaks to the node that serves the installation.
func (i Installation) node() *control.Client {
	return control.NewClient(func(ctx context.Context) (c net.Conn, err error) {
		err = shortened(i.peerSocket(), func(short string) error {
			c, err = new(net.Dialer).DialContext(ctx, "unix", short)
			return err
		})
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = ErrNotServing
		}
		return c, err
	})
}

// PeerStatus is the node as it is now. When none is serving, it is what the
// keys and the list of peers say, with ErrNotServing.
func (i Installation) PeerStatus(ctx context.Context) (peer.Status, error) {
	s, err := i.node().Status(ctx)
	if !errors.Is(err, ErrNotServing) {
		return s, err
	}
	ring, openErr := i.Ring(ctx)
	if openErr != nil {
		return peer.Status{}, openErr
	}
	s = peer.Status{Addresses: []string{}, Peers: []peer.Peer{}}
	var identityErr error
	s.ID, s.DID, identityErr = peer.Identity(ring.Peer().Public().(ed25519.PublicKey))
	listed, listErr := i.Peers().Read()
	for _, address := range listed {
		s.Peers = append(s.Peers, peer.Listed(address))
	}
	return s, errors.Join(identityErr, listErr, err)
}

// AddPeer lists a peer, for the node that serves now and for all later ones.
func (i Installation) AddPeer(ctx context.Context, address string) error {
	if err := i.Peers().Add(ctx, address); err != nil {
		return err
	}
	if err := i.node().Add(ctx, address); !errors.Is(err, ErrNotServing) {
		return err
	}
	return nil
}

// RemovePeer takes a peer off the list.
func (i Installation) RemovePeer(ctx context.Context, id string) error {
	err := i.Peers().Remove(ctx, id)
	there := i.node().Remove(ctx, id)
	if errors.Is(err, peer.ErrUnknownPeer) && !errors.Is(there, ErrNotServing) {
		return there // it may be listed by a flag of serve
	}
	if errors.Is(there, ErrNotServing) || errors.Is(there, peer.ErrUnknownPeer) {
		there = nil
	}
	return errors.Join(err, there)
}

// PingPeer has the node that serves measure how long a peer's answer takes.
func (i Installation) PingPeer(ctx context.Context, whom string) (time.Duration, error) {
	return i.node().Ping(ctx, whom)
}

// ExportSwarmKey writes the swarm's key to a file that only its owner reads.
func (i Installation) ExportSwarmKey(ctx context.Context, path string) error {
	ring, err := i.Ring(ctx)
	if err != nil {
		return err
	}
	key, err := ring.Swarm(ctx)
	if err != nil {
		return fmt.Errorf("swarm key: %w", err)
	}
	return atomicfile.WriteFile(path, key.Marshal(), 0o600)
}

// ImportSwarmKey joins the swarm whose key is in a file.
func (i Installation) ImportSwarmKey(ctx context.Context, path string, replace bool) error {
	raw, err := input.ReadFile(path, input.Key)
	if err != nil {
		return err
	}
	key, err := keys.ParseSwarmKey(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ring, err := i.Ring(ctx)
	if err != nil {
		return err
	}
	return ring.JoinSwarm(ctx, key, replace)
}

// SwarmKeyFile is where the swarm's key lies.
func (i Installation) SwarmKeyFile() string { return filepath.Join(i.Keys(), keys.SwarmFile) }
