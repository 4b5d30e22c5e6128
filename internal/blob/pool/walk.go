package pool

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// batch bounds how many names Walk holds at a time.
const batch = 1024

// Walk calls visit for each blob, in no order; what comes or goes meanwhile
// may be missed. An error of visit ends the walk and is returned.
func (p *Pool) Walk(ctx context.Context, visit func(Info) error) error {
	for _, algorithm := range []string{"sha256", "sha512"} {
		if err := p.walk(ctx, algorithm, visit); err != nil {
			return err
		}
	}
	return nil
}

func (p *Pool) walk(ctx context.Context, algorithm string, visit func(Info) error) error {
	dir, err := os.Open(filepath.Join(p.root, algorithm))
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(batch)
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := visitEntry(algorithm, entry, visit); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func visitEntry(algorithm string, entry fs.DirEntry, visit func(Info) error) error {
	d, err := oci.ParseDigest(algorithm + ":" + entry.Name())
	if err != nil || !entry.Type().IsRegular() {
		return nil // a file on its way to its name
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return visit(describe(d, info))
}

// Quarantine takes d out of circulation and keeps its bytes aside, for a
// person to look at.
func (p *Pool) Quarantine(d oci.Digest) error {
	f, err := p.File(d)
	if err != nil {
		return err
	}
	return errors.Join(p.Isolate(d, f), f.Close())
}

// IsQuarantined says whether the file info describes was found rotten under
// the name d.
func (p *Pool) IsQuarantined(d oci.Digest, info fs.FileInfo) bool {
	bad, err := os.Lstat(filepath.Join(p.root, quarantine, d.Algorithm(), d.Hex()))
	return err == nil && os.SameFile(bad, info)
}

// Isolate is Quarantine of the file f, and not of one that has taken its place.
func (p *Pool) Isolate(d oci.Digest, f *os.File) error {
	p.moving.Lock()
	defer p.moving.Unlock()
	path, err := p.path(d)
	if err != nil {
		return err
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(path); err != nil || !os.SameFile(mine, named) {
		return nil
	}
	return p.condemn(d, path, os.Rename)
}

// Condemn puts the file at path, which is not what d names, into quarantine:
// IsQuarantined knows it by all its names then.
func (p *Pool) Condemn(d oci.Digest, path string) error {
	p.moving.Lock()
	defer p.moving.Unlock()
	return p.condemn(d, path, func(from, to string) error {
		err := p.link(from, to)
		if errors.Is(err, unix.EMLINK) {
			err = os.Rename(from, to)
		}
		return err
	})
}

func (p *Pool) condemn(d oci.Digest, path string, name func(from, to string) error) error {
	to := filepath.Join(p.root, quarantine, d.Algorithm(), d.Hex())
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return name(path, to)
}

// A reader is a blob being read and checked.
type reader struct {
	ctx    context.Context
	pool   *Pool
	digest oci.Digest
	f      *os.File
	r      io.Reader
}

func (r *reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(b)
	var rotten *blob.MismatchError
	if errors.As(err, &rotten) || errors.Is(err, syscall.EIO) {
		err = errors.Join(err, r.pool.Isolate(r.digest, r.f))
	}
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }
