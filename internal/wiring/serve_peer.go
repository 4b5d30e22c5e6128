package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/blob/pool"
	"holdfast/internal/input"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/peer"
	"holdfast/internal/peer/control"
	"holdfast/internal/registry"
)

// PeerConfig says which swarm the registry is in. The zero value is none.
type PeerConfig struct {
	Swarm  string // peer.PrivateSwarm, peer.PublicSwarm, or empty
	Listen string // HOST:PORT; empty: others cannot connect, but this node can
	Peers  []string
	DHT    peer.DHT
	MDNS   bool
}

// A swarm is the node that runs beside a registry.
type swarm struct {
	node    *peer.Node
	control *http.Server
	done    chan error
}

// joinSwarm starts the node, if one is wanted, and has the registry use it.
func (s *Services) joinSwarm(i Installation, c ServeConfig, r *registry.Config) error {
	if c.Peer.Swarm == "" {
		return nil
	}
	config, err := i.peerConfig(s.ring, c.Peer, s.blobs, c.Log)
	if err != nil {
		return err
	}
	node, err := peer.New(config)
	if err != nil {
		return err
	}
	s.swarm = &swarm{node: node}
	s.ends = append(s.ends, s.leaveSwarm)
	r.Sources = append([]registry.Source{peerSource{node}}, r.Sources...) // before registries elsewhere
	r.Stored = both(r.Stored, node.Stored)
	s.blobs.store.Indexed(node.Stored)
	return nil
}

func both(a, b func(oci.Digest)) func(oci.Digest) {
	if a == nil {
		return b
	}
	return func(d oci.Digest) { a(d); b(d) }
}

func (i Installation) peerConfig(ring *keys.Ring, c PeerConfig, blobs *Blobs, log *slog.Logger) (peer.Config, error) {
	listed, err := i.Peers().Read()
	if err != nil {
		return peer.Config{}, err
	}
	listen, err := peer.ListenAddresses(c.Listen, c.Swarm)
	if err != nil {
		return peer.Config{}, err
	}
	config := peer.Config{
		Key: ring.Peer(), Store: blobs.store, Listen: listen, Peers: append(listed, c.Peers...),
		DHT: c.DHT, MDNS: c.MDNS, TempDir: i.Partial(), Logger: log,
		Blobs: func(ctx context.Context, visit func(oci.Digest) error) error {
			return blobs.pool.Walk(ctx, func(b pool.Info) error { return visit(b.Digest) })
		},
	}
	if err := os.MkdirAll(i.Partial(), 0o700); err != nil {
		return peer.Config{}, err
	}
	if c.Swarm == peer.PublicSwarm {
		return config, nil
	}
	key, err := ring.Swarm(context.Background())
	config.SwarmKey = (*[32]byte)(&key)
	return config, err
}

// controlSwarm answers verbs of the command line on a socket that only its
// owner can use. One that nobody answers on was left by a process that was
// killed.
func (s *Services) controlSwarm(i Installation) error {
	if s.swarm == nil {
		return nil
	}
	path := i.peerSocket()
	if _, err := i.node().Status(context.Background()); !errors.Is(err, ErrNotServing) {
		return fmt.Errorf("control socket %s: %w", path, registry.ErrInUse)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := listenUnix(path)
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	s.swarm.control = &http.Server{Handler: control.Handler(s.swarm.node), ReadHeaderTimeout: 5 * time.Second, ErrorLog: quietLog}
	s.swarm.done = make(chan error, 1)
	go func() { s.swarm.done <- s.swarm.control.Serve(l) }()
	return nil
}

// leaveSwarm ends what joinSwarm began.
func (s *Services) leaveSwarm() error {
	var err error
	if s.swarm.control != nil {
		err = s.swarm.control.Close()
		<-s.swarm.done
	}
	return errors.Join(err, s.swarm.node.Close())
}

// PeerAddresses are where other nodes find this one, empty when there is none.
func (s *Services) PeerAddresses() []string {
	if s.swarm == nil {
		return nil
	}
	return s.swarm.node.Status().Addresses
}

// A peerSource finds at peers what the registry lacks. Peers know digests
// only: no names of repositories, and no tags.
type peerSource struct{ node *peer.Node }

func (p peerSource) Prefix(string) (string, bool) { return "", false }

func (p peerSource) Blob(ctx context.Context, _ string, d oci.Digest) (io.ReadCloser, int64, error) {
	r, size, err := p.node.Open(ctx, d)
	if errors.Is(err, peer.ErrNotFound) {
		err = fmt.Errorf("%w: %w", registry.ErrUnknown, err)
	}
	return r, size, err
}

func (p peerSource) Manifest(ctx context.Context, repository, reference string, _ oci.Digest) (registry.Manifest, error) {
	d, err := oci.ParseDigest(reference)
	if err != nil {
		return registry.Manifest{}, registry.ErrUnknown
	}
	r, _, err := p.Blob(ctx, repository, d)
	if err != nil {
		return registry.Manifest{}, err
	}
	defer r.Close()
	body, err := input.ReadAll(r, maxPeerManifest)
	if err != nil {
		return registry.Manifest{}, fmt.Errorf("manifest %s: %w", d, err)
	}
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return registry.Manifest{}, fmt.Errorf("manifest %s: %w", d, err)
	}
	return registry.Manifest{Digest: d, MediaType: or(m.MediaType, mediaTypeOf(len(m.Manifests))), Body: body}, nil
}

const maxPeerManifest = 4 << 20

// mediaTypeOf is for manifests that do not say what they are, as OCI allows.
func mediaTypeOf(manifests int) string {
	if manifests > 0 {
		return "application/vnd.oci.image.index.v1+json"
	}
	return "application/vnd.oci.image.manifest.v1+json"
}

func (i Installation) peerSocket() string { return filepath.Join(i.dir, "peer.sock") }

// Peers is the list of peers to stay connected to.
func (i Installation) Peers() peer.List { return peer.List(filepath.Join(i.dir, "peers")) }

// maxSocketPath is what an address of a socket has room for, unix(7).
const maxSocketPath = 107

// listenUnix makes a socket that only its owner can use.
func listenUnix(path string) (l net.Listener, err error) {
	err = shortened(path, func(short string) error {
		l, err = net.Listen("unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by a path that may be none any more
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{Listener: l, path: path}, nil
}

// A socket takes its file away when it is closed.
type socket struct {
	net.Listener
	path string
}

func (s *socket) Close() error { return errors.Join(s.Listener.Close(), os.Remove(s.path)) }

// shortened gives do a path of the socket that is short enough.
func shortened(path string, do func(short string) error) error {
	if len(path) <= maxSocketPath {
		return do(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}
