package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ipfs/go-cid"

	"holdfast/internal/blob"
	"holdfast/internal/blob/ipfs"
	"holdfast/internal/blob/pool"
	"holdfast/internal/input"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// Blobs are the bytes that a registry has, as OCI and as IPFS name them.
type Blobs struct {
	store *ipfs.Store
	pool  *pool.Pool
}

// A BlobInfo is a blob by all its names.
type BlobInfo struct {
	Digest    oci.Digest `json:"digest"`
	CID       string     `json:"cid"`
	DigestCID string     `json:"digest_cid"` // what peers announce; the CID itself for a blob of one block
	Size      int64      `json:"size"`
	Links     int        `json:"links,omitempty"` // names on the disk, the pool's own among them; absent for a file
	Kept      bool       `json:"kept,omitempty"`
}

// Blobs opens the blobs of the registry in dir, the installation's own when
// it is empty.
func (i Installation) Blobs(dir string, log *slog.Logger) (*Blobs, error) {
	return i.blobs(dir, log, nil)
}

// blobs has somebody told of what rotted.
func (i Installation) blobs(dir string, log *slog.Logger, rotten func(oci.Digest)) (*Blobs, error) {
	dir = or(dir, i.Registry())
	p, err := pool.New(filepath.Join(dir, pool.Dir))
	if err != nil {
		return nil, err
	}
	s, err := ipfs.New(ipfs.Config{Pool: p, Dir: filepath.Join(dir, ipfs.Dir), Logger: log, Rotten: rotten})
	return &Blobs{store: s, pool: p}, err
}

// Close lets go of the index.
func (b *Blobs) Close() error { return b.store.Close() }

// Stat describes the blob that a person calls by its digest or its CID.
func (b *Blobs) Stat(ctx context.Context, name string) (BlobInfo, error) {
	d, _, err := b.find(name)
	if err != nil {
		return BlobInfo{}, err
	}
	if d == "" {
		return BlobInfo{}, fmt.Errorf("%s is no whole blob: %w", name, blob.ErrNotFound)
	}
	info, err := b.pool.Stat(d)
	if err != nil {
		return BlobInfo{}, err
	}
	dag, err := b.store.DAG(ctx, d)
	if err != nil {
		return BlobInfo{}, err
	}
	described, err := describe(d, dag)
	described.Links, described.Kept = info.Links, b.store.IsKept(d)
	return described, err
}

// DescribeFile names a file as if it were a blob, without keeping it.
func DescribeFile(ctx context.Context, path string, r progress.Reporter) (BlobInfo, error) {
	f, step, err := openFile(path, r)
	if err != nil {
		return BlobInfo{}, err
	}
	defer f.Close()
	dag, d, err := ipfs.BuildUnnamed(ctx, progress.Reader(f, step))
	if err != nil {
		step.Fail()
		return BlobInfo{}, fmt.Errorf("%s: %w", path, err)
	}
	step.Done("")
	return describe(d, *dag)
}

func openFile(path string, r progress.Reporter) (*os.File, progress.Step, error) {
	f, err := input.Open(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, progress.Or(r).Start("hash "+filepath.Base(path), info.Size(), progress.Bytes), nil
}

func describe(d oci.Digest, dag ipfs.DAG) (BlobInfo, error) {
	own, err := ipfs.DigestCID(d)
	return BlobInfo{Digest: d, CID: dag.Root.String(), DigestCID: own.String(), Size: dag.Size}, err
}

// Add makes a blob of a file and keeps it, whether a repository names it or
// not.
func (b *Blobs) Add(ctx context.Context, path string, r progress.Reporter) (BlobInfo, error) {
	f, step, err := openFile(path, r)
	if err != nil {
		return BlobInfo{}, err
	}
	defer f.Close()
	d, dag, err := b.store.Add(ctx, f)
	if err != nil {
		step.Fail()
		return BlobInfo{}, fmt.Errorf("%s: %w", path, err)
	}
	step.Done("")
	info, err := describe(d, dag)
	info.Kept = true
	return info, err
}

// Import keeps every block of a CAR file.
func (b *Blobs) Import(ctx context.Context, path string, r progress.Reporter) (ipfs.Imported, error) {
	f, step, err := openFile(path, r)
	if err != nil {
		return ipfs.Imported{}, err
	}
	defer f.Close()
	in, err := b.store.Import(ctx, progress.Reader(f, step))
	if err != nil {
		step.Fail()
		return in, fmt.Errorf("%s: %w", path, err)
	}
	step.Done("")
	return in, nil
}

// Copy writes a blob, or the file that a CID is the root of. A blob that
// turns out rotten is an error behind its last byte.
func (b *Blobs) Copy(ctx context.Context, name string, w io.Writer) error {
	d, c, err := b.find(name)
	if err != nil {
		return err
	}
	if d == "" {
		return b.store.WriteFile(ctx, c, w)
	}
	r, err := b.pool.Open(ctx, d)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, r.Close())
}

// Drop no longer keeps a blob that no repository names; it is gone once blobs
// are collected.
func (b *Blobs) Drop(name string) error {
	d, _, err := b.find(name)
	if err != nil {
		return err
	}
	if d == "" {
		return fmt.Errorf("%s is no whole blob: %w", name, blob.ErrNotFound)
	}
	return b.store.Drop(d)
}

// A BlobNameError is a word that cannot be the name of a blob.
type BlobNameError struct{ Name string }

func (e *BlobNameError) Error() string {
	return fmt.Sprintf("%.80q: want a digest, as sha256:…, or a CID, as bafy…", e.Name)
}

// find reads the name of a blob: a digest, or a CID, which may be that of
// something less than a blob.
func (b *Blobs) find(name string) (oci.Digest, cid.Cid, error) {
	if d, err := oci.ParseDigest(name); err == nil {
		return d, cid.Undef, nil
	}
	c, err := cid.Decode(name)
	if err != nil {
		return "", cid.Undef, &BlobNameError{name}
	}
	d, err := b.store.Blob(c)
	return d, c, err
}
