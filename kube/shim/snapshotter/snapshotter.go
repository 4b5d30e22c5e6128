// Package snapshotter is a snapshotter of containerd's for images that are only ever
// opened inside a guest.
//
// It says of each layer that it is there already, so that containerd fetches none;
// and what it gives as a container's root is one empty folder that nobody may write.
package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
)

// A Snapshotter keeps names and parents, and nothing else.
type Snapshotter struct {
	store *storage.MetaStore
	empty string // the folder that every container's root is
}

// New keeps its names in dir.
func New(dir string) (*Snapshotter, error) {
	empty := filepath.Join(dir, "empty")
	if err := os.MkdirAll(empty, 0o555); err != nil {
		return nil, err
	}
	store, err := storage.NewMetaStore(filepath.Join(dir, "snapshots.db"))
	return &Snapshotter{store, empty}, err
}

// Serve answers containerd at a Unix socket until ctx ends.
func Serve(ctx context.Context, socket, dir string) error {
	s, err := New(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.MkdirAll(filepath.Dir(socket), 0o711); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(s))
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(l)
}

// Prepare makes what a container runs on. Of a layer it says that it is there,
// which containerd then asks about by its name: "containerd.io/snapshot.ref" in
// core/snapshots/snapshotter.go.
func (s *Snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	var info snapshots.Info
	for _, opt := range opts {
		if err := opt(&info); err != nil {
			return nil, err
		}
	}
	layer := info.Labels[snapshots.LabelSnapshotRef]
	err := s.store.WithTransaction(ctx, true, func(ctx context.Context) error {
		if _, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, parent, opts...); err != nil || layer == "" {
			return err
		}
		_, err := storage.CommitActive(ctx, key, layer, snapshots.Usage{}, opts...)
		return err
	})
	switch {
	case layer == "" && err == nil:
		return s.mounts(), nil
	case layer != "" && (err == nil || errdefs.IsAlreadyExists(err)):
		return nil, fmt.Errorf("layer %s is for guests alone: %w", layer, errdefs.ErrAlreadyExists)
	}
	return nil, err
}

// View is as Prepare, of something that nobody commits.
func (s *Snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	err := s.store.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, err := storage.CreateSnapshot(ctx, snapshots.KindView, key, parent, opts...)
		return err
	})
	return s.mounts(), err
}

// Mounts are the same for all.
func (s *Snapshotter) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	err := s.store.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, err := storage.GetSnapshot(ctx, key)
		return err
	})
	return s.mounts(), err
}

func (s *Snapshotter) mounts() []mount.Mount {
	return []mount.Mount{{Type: "bind", Source: s.empty, Options: []string{"ro", "bind"}}}
}

// ErrNoContent refuses what would bring an image's content to the node.
var ErrNoContent = fmt.Errorf("images of confidential pods are unpacked by their guests alone: %w", errdefs.ErrFailedPrecondition)

// Commit is how containerd would keep what it unpacked itself.
func (s *Snapshotter) Commit(context.Context, string, string, ...snapshots.Opt) error {
	return ErrNoContent
}

// Stat tells what is known of a name.
func (s *Snapshotter) Stat(ctx context.Context, key string) (info snapshots.Info, err error) {
	err = s.store.WithTransaction(ctx, false, func(ctx context.Context) error {
		_, info, _, err = storage.GetInfo(ctx, key)
		return err
	})
	return info, err
}

// Update changes labels.
func (s *Snapshotter) Update(ctx context.Context, info snapshots.Info, fields ...string) (out snapshots.Info, err error) {
	err = s.store.WithTransaction(ctx, true, func(ctx context.Context) error {
		out, err = storage.UpdateInfo(ctx, info, fields...)
		return err
	})
	return out, err
}

// Usage is none.
func (s *Snapshotter) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	_, err := s.Stat(ctx, key)
	return snapshots.Usage{}, err
}

// Remove forgets a name.
func (s *Snapshotter) Remove(ctx context.Context, key string) error {
	return s.store.WithTransaction(ctx, true, func(ctx context.Context) error {
		_, _, err := storage.Remove(ctx, key)
		return err
	})
}

// Walk shows all names.
func (s *Snapshotter) Walk(ctx context.Context, f snapshots.WalkFunc, filters ...string) error {
	return s.store.WithTransaction(ctx, false, func(ctx context.Context) error { return storage.WalkInfo(ctx, f, filters...) })
}

// Close closes the store.
func (s *Snapshotter) Close() error { return s.store.Close() }
