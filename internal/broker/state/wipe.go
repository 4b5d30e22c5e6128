package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// wipeSecrets removes the files of resources that were imported: they hold in
// clear what the state holds sealed. One that says something else than the
// state stays, with a word in the log. It is done again at the next open when a
// crash comes between.
func (s *Store) wipeSecrets(ctx context.Context) error {
	root := filepath.Join(s.dir, BeforeFolder, "resources")
	kept := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if err := s.imported(ctx, root, path); err != nil {
			kept++
			s.cfg.Log.Warn("broker: a secret of before stays in clear: remove it once nobody needs it", "file", path, "cause", err)
			return nil
		}
		return wipe(path, entry)
	})
	if errors.Is(err, fs.ErrNotExist) || err == nil && kept > 0 {
		return nil
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(root), atomicfile.SyncDir(filepath.Dir(root))) // folders are left
	}
	if err != nil {
		return fmt.Errorf("remove the secrets of before: %w", err)
	}
	return nil
}

// imported says why not, when the state does not have a file's content. Files
// that begin with a dot were never finished.
func (s *Store) imported(ctx context.Context, root, path string) error {
	if strings.HasPrefix(filepath.Base(path), ".") {
		return nil
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	raw, err := input.ReadFile(path, input.Document)
	if err != nil {
		return err
	}
	defer clear(raw)
	value, err := s.Resource(ctx, filepath.ToSlash(rel))
	if err == nil && !bytes.Equal(value, raw) {
		err = errors.New("the state has another value")
	}
	return err
}

// wipe writes zeros over a file before it is removed, under a name that says it
// may go. It leaves alone what has another name beside: that is somebody's copy.
func wipe(path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	gone := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.Rename(path, gone); err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if info.Mode().IsRegular() && ok && stat.Nlink == 1 {
		f, err := os.OpenFile(gone, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = strings.NewReader(strings.Repeat("\x00", int(info.Size()))).WriteTo(f)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return os.Remove(gone)
}
