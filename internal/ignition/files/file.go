package files

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// errExists is upstream's rule: what is there stays unless the config says so.
var errExists = errors.New("is there already and overwrite is false")

// file makes one, or appends to it. One that is there keeps its contents when
// the config has none, or when they are the same: an earlier run made it, which
// may have been cut short.
func (s *stage) file(ctx context.Context, at string, f types.File) error {
	info, err := s.dir.Lstat(at)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case !missing && !info.Mode().IsRegular():
		return fmt.Errorf("%v %w", kind(info), errExists)
	case !missing && f.Contents.Source != nil:
		if part, err := s.sameFile(ctx, at, f); err != nil {
			return err
		} else if !part {
			return s.permissions(at, f.Mode, f.Node)
		}
	case missing && f.Contents.Source == nil:
		f.Contents.Source = new(string)
	}
	if f.Contents.Source != nil {
		if err := s.contents(ctx, at, f.Contents); err != nil {
			return err
		}
	}
	for i, r := range f.Append {
		if err := s.appendTo(ctx, at, r); err != nil {
			return fmt.Errorf("append[%d]: %w", i, err)
		}
	}
	return s.permissions(at, f.Mode, f.Node)
}

func kind(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "a directory"
	case info.Mode()&fs.ModeSymlink != 0:
		return "a link"
	}
	return "no ordinary file"
}

// contents puts what r names at a path, whole or not at all.
func (s *stage) contents(ctx context.Context, at string, r types.Resource) error {
	if err := s.dir.Parents(at); err != nil {
		return err
	}
	if s.cut {
		if err := s.sweep(filepath.Dir(at)); err != nil {
			return err
		}
	}
	f, err := s.fetched(ctx, filepath.Dir(at), r)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := s.dir.Rename(f.name, at); err != nil {
		return errors.Join(err, s.dir.Remove(f.name))
	}
	return nil
}

func (s *stage) appendTo(ctx context.Context, at string, r types.Resource) error {
	f, err := s.fetched(ctx, filepath.Dir(at), r)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close(); _ = s.dir.Remove(f.name) }()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	to, err := s.dir.OpenFile(at, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return errors.Join(err, to.Close())
}

// A scratch file is in the folder of the file that it becomes.
type scratch struct {
	*os.File
	name string // below the root
}

// fetched is r in a new file, verified.
func (s *stage) fetched(ctx context.Context, dir string, r types.Resource) (*scratch, error) {
	f, err := s.scratch(dir)
	if err != nil {
		return nil, err
	}
	if r.Source != nil && *r.Source != "" {
		err = s.early.get(ctx, r, f)
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err != nil {
		return nil, errors.Join(plain(err), f.Close(), s.dir.Remove(f.name))
	}
	return f, nil
}

// plain leaves out the name of a scratch file, which says nothing to anybody.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) && strings.Contains(p.Path, scratchPrefix) {
		return fmt.Errorf("%s: %w", p.Op, p.Err)
	}
	return err
}

const scratchPrefix = ".ignition-"

func (s *stage) scratch(dir string) (*scratch, error) {
	name := filepath.Join(dir, scratchPrefix+rand.Text())
	f, err := s.dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &scratch{f, name}, nil
}

// directory makes one, or takes what is there.
func (s *stage) directory(at string, d types.Directory) error {
	info, err := s.dir.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = s.dir.Folders(at, 0o755, nil)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%v %w", kind(info), errExists)
	}
	if err != nil {
		return err
	}
	return s.permissions(at, d.Mode, d.Node)
}
