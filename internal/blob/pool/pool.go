// Package pool keeps the one copy of every blob that a registry has.
//
// A blob lies at ALGORITHM/HEX. Whoever needs it holds a hard link to it, so
// a blob that a hundred repositories name is on the disk once, and one whose
// link count is 1 is nobody's. What is found rotten moves to quarantine/ and
// is not given out again.
package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// Dir is the pool's folder within a registry's.
const Dir = ".blobs"

// quarantine is the folder of what rotted, within the pool's.
const quarantine = "quarantine"

// A Pool is a folder of blobs; it implements blob.Store. Its links must lie
// on the same file system.
type Pool struct {
	root string

	moving   sync.Mutex // held while a name is given to another file or taken away
	renewing sync.Mutex // held while a file that can have no more names is copied

	link func(from, to string) error // os.Link, but in tests
}

// Info is what the file system says of a blob.
type Info struct {
	Digest oci.Digest
	Size   int64     // bytes
	Links  int       // names, the pool's own among them
	Since  time.Time // when a name was last given or taken, or Touch was called

	file fs.FileInfo
}

// Is says whether the other description is of the same file.
func (i Info) Is(other fs.FileInfo) bool { return os.SameFile(i.file, other) }

// New opens the folder root as a pool, making it when it is absent. Nothing
// in it is read.
func New(root string) (*Pool, error) {
	for _, algorithm := range []string{"sha256", "sha512"} {
		if err := os.MkdirAll(filepath.Join(root, algorithm), 0o755); err != nil {
			return nil, fmt.Errorf("blob pool: %w", err)
		}
	}
	return &Pool{root: root, link: os.Link}, nil
}

// Has says whether the pool has d, without reading it.
func (p *Pool) Has(_ context.Context, d oci.Digest) (bool, error) {
	_, err := p.Stat(d)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Stat describes d, or wraps blob.ErrNotFound.
func (p *Pool) Stat(d oci.Digest) (Info, error) {
	path, err := p.path(d)
	if err != nil {
		return Info{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return Info{}, notFound(d, err)
	}
	return describe(d, info), nil
}

// Open gives the bytes of d, hashed on their way; see blob.Store. A blob that
// turns out rotten is in quarantine when the reader says so.
func (p *Pool) Open(ctx context.Context, d oci.Digest) (io.ReadCloser, error) {
	f, err := p.File(d)
	if err != nil {
		return nil, err
	}
	r, err := blob.NewReader(d, f)
	return &reader{ctx: ctx, pool: p, digest: d, f: f, r: r}, err
}

// File opens d for reading at any offset. What is read is not checked: that
// is for those who give the bytes to somebody who checks them.
func (p *Pool) File(d oci.Digest) (*os.File, error) {
	path, err := p.path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	return f, notFound(d, err)
}

// Put keeps what r holds under the name d, synced; see blob.Store.
func (p *Pool) Put(ctx context.Context, d oci.Digest, r io.Reader) error {
	path, err := p.path(d)
	if err != nil {
		return err
	}
	return blob.WriteFile(ctx, path, d, r)
}

// Add gives the file at path, whose bytes the caller has verified to be d,
// its name in the pool. When the pool has d already, that file stays. Nothing
// is synced; see Sync.
func (p *Pool) Add(d oci.Digest, path string) error {
	to, err := p.path(d)
	if err != nil {
		return err
	}
	p.moving.Lock()
	defer p.moving.Unlock()
	if err := p.link(path, to); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Move is Add that takes the file's name away, when the pool has no d yet: one
// change of the disk less.
func (p *Pool) Move(d oci.Digest, path string) error {
	to, err := p.path(d)
	if err != nil {
		return err
	}
	p.moving.Lock()
	defer p.moving.Unlock()
	err = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // a file system that cannot
		err = p.link(path, to)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Touch makes d look as if a name had been given to it just now, so that a
// collection that spares the young spares it.
func (p *Pool) Touch(d oci.Digest) error {
	path, err := p.path(d)
	if err != nil {
		return err
	}
	return notFound(d, os.Chmod(path, 0o644)) // sets the time of status change
}

// Sync makes d and its name outlive a power cut.
func (p *Pool) Sync(d oci.Digest) error {
	f, err := p.File(d)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	return errors.Join(err, atomicfile.SyncDir(filepath.Dir(f.Name())))
}

// Remove takes d out of the pool. Who holds a link keeps the bytes.
func (p *Pool) Remove(d oci.Digest) error {
	path, err := p.path(d)
	if err != nil {
		return err
	}
	return notFound(d, os.Remove(path))
}

// RemoveUnused takes d out if nobody else holds a link to it, and says whether
// it did.
func (p *Pool) RemoveUnused(d oci.Digest) (bool, error) {
	p.moving.Lock()
	defer p.moving.Unlock()
	info, err := p.Stat(d)
	if err != nil || info.Links > 1 {
		return false, err
	}
	return true, p.Remove(d)
}

func (p *Pool) path(d oci.Digest) (string, error) {
	if _, err := oci.ParseDigest(string(d)); err != nil {
		return "", err
	}
	return filepath.Join(p.root, d.Algorithm(), d.Hex()), nil
}

func notFound(d oci.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", d, blob.ErrNotFound)
	}
	return err
}

func sameFile(a, b string) bool {
	one, err := os.Lstat(a)
	if err != nil {
		return false
	}
	other, err := os.Lstat(b)
	return err == nil && os.SameFile(one, other)
}

func describe(d oci.Digest, info fs.FileInfo) Info {
	links := int(info.Sys().(*syscall.Stat_t).Nlink)
	return Info{Digest: d, Size: info.Size(), Links: links, Since: Changed(info), file: info}
}

// Changed is when a name of a file was last given or taken; see Info.Since.
func Changed(info fs.FileInfo) time.Time {
	return time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
}
