// Package dir keeps blobs as files of one folder.
//
// A blob lies at ALGORITHM/XX/HEX, XX being its first two hex digits. It gets
// that name only when its bytes are complete, verified and synced, so two
// processes may share the folder and a crash leaves no half blob.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// A Store is a folder of blobs; it implements blob.Store.
type Store struct{ root string }

// partial is the folder of blobs that are being received over several tries.
const partial = "partial"

// abandoned is the age at which an unnamed file is no other process's work
// under way any more but what a crash left.
const abandoned = 24 * time.Hour

// New opens the folder root as a store, making it when it is absent, and
// sweeps up what crashed writers left in it.
func New(root string) (*Store, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("blob store: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(root, "*", "*", ".tmp-*"))
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(path)
		}
	}
	blob.SweepParts(filepath.Join(root, partial))
	return &Store{root: root}, nil
}

// Has says whether there is a file for d.
func (s *Store) Has(_ context.Context, d oci.Digest) (bool, error) {
	path, err := s.path(d)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Open opens the file of d for reading; see blob.Store.
func (s *Store) Open(ctx context.Context, d oci.Digest) (io.ReadCloser, error) {
	path, err := s.path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", d, blob.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	r, err := blob.NewReader(d, f)
	return &file{ctx: ctx, f: f, r: r}, err
}

// Put writes the file of d; see blob.Store.
func (s *Store) Put(ctx context.Context, d oci.Digest, r io.Reader) error {
	path, err := s.path(d)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return blob.WriteFile(ctx, path, d, r)
}

// Resume opens what was received of d; see blob.Resumer.
func (s *Store) Resume(d oci.Digest) (*blob.Part, func() error, error) {
	path, err := s.path(d)
	if err != nil {
		return nil, nil, err
	}
	p, err := blob.OpenPart(filepath.Join(s.root, partial, d.Hex()), d)
	if err != nil {
		return nil, nil, err
	}
	return p, func() error {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return p.Commit(path, 0o644)
	}, nil
}

func (s *Store) path(d oci.Digest) (string, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return "", err
	}
	return filepath.Join(s.root, d.Algorithm(), d.Hex()[:2], d.Hex()), nil
}

// A file is a blob being read. It removes the blob that turns out rotten.
type file struct {
	ctx context.Context
	f   *os.File
	r   io.Reader
}

func (f *file) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.r.Read(p)
	var rotten *blob.MismatchError
	if errors.As(err, &rotten) {
		err = fmt.Errorf("%s: %w", f.f.Name(), errors.Join(err, f.forget()))
	}
	return n, err
}

func (f *file) Close() error { return f.f.Close() }

// forget removes the file that is open, but not one that another process has
// put in its place meanwhile.
func (f *file) forget() error {
	mine, err := f.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(f.f.Name())
	if err != nil || !os.SameFile(mine, named) {
		return nil
	}
	return os.Remove(f.f.Name())
}
