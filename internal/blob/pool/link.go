package pool

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// Link makes path another name of d, in place of what was called so. A folder
// that is missing is fs.ErrNotExist, a blob that is missing blob.ErrNotFound.
func (p *Pool) Link(d oci.Digest, path string) error {
	from, err := p.path(d)
	if err != nil {
		return err
	}
	if err = p.linkOnce(d, from, path); !errors.Is(err, unix.EMLINK) {
		return err
	}
	if err := p.renew(d, from); err != nil {
		return err
	}
	return p.linkOnce(d, from, path)
}

func (p *Pool) linkOnce(d oci.Digest, from, path string) error {
	err := p.link(from, path)
	if errors.Is(err, fs.ErrExist) {
		return p.relink(d, from, path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, absent := p.Stat(d); absent != nil {
			return absent
		}
	}
	return err // the folder of path may be missing
}

// relink replaces a name that leads to another file than the pool's.
func (p *Pool) relink(d oci.Digest, from, path string) error {
	p.moving.Lock()
	defer p.moving.Unlock()
	if sameFile(from, path) {
		return p.Touch(d)
	}
	temp := beside(path)
	_ = os.Remove(temp)
	if err := p.link(from, temp); err != nil {
		return notFound(d, err)
	}
	return os.Rename(temp, path)
}

// renew gives the pool's name to a copy of a file that has as many names as
// the file system takes: 65,000 on ext4. Whoever has one of the others keeps
// the same bytes by it, and Link leads it to the copy.
func (p *Pool) renew(d oci.Digest, path string) error {
	p.renewing.Lock()
	defer p.renewing.Unlock()
	if full, err := p.full(path); !full {
		return notFound(d, err) // nil when somebody else was quicker
	}
	r, err := p.Open(context.Background(), d)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := atomicfile.Create(path, 0o644)
	if err != nil {
		return err
	}
	defer f.Discard()
	_, err = io.Copy(f, r)
	var rotten *blob.MismatchError
	if errors.As(err, &rotten) {
		return errors.Join(notFound(d, fs.ErrNotExist), err)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		return err
	}
	p.moving.Lock()
	defer p.moving.Unlock()
	return f.Commit()
}

// full says whether a file can have no more names.
func (p *Pool) full(path string) (bool, error) {
	temp := beside(path)
	_ = os.Remove(temp)
	err := p.link(path, temp)
	if err == nil {
		err = os.Remove(temp)
	}
	return errors.Is(err, unix.EMLINK), err
}

// beside is a name in the folder of path that is nobody's.
func beside(path string) string {
	return filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
}
