package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// A folder is being filled beside its final place and takes its name only
// when it is whole, so that nobody ever sees half an image.
type folder struct {
	tmp, final string
	held       *os.File
}

// ours lists all that a folder of ours may hold, by the file that marks its
// kind. A folder with anything else in it is somebody's own.
var ours = map[string][]string{
	v1.ImageLayoutFile: {v1.ImageLayoutFile, v1.ImageIndexFile, v1.ImageBlobsDir, ".lock"},
	machineFile:        {machineFile, diskFile, ukiFile, referenceFile, sbomFile, provenanceFile},
}

// tmpPrefix begins the names of folders that are being filled.
const tmpPrefix = ".holdfast-image-"

// newFolder starts a folder that commit will call path.
func newFolder(path string) (*folder, error) {
	final, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := mayReplace(final); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return nil, err
	}
	sweep(filepath.Dir(final))
	tmp, err := os.MkdirTemp(filepath.Dir(final), tmpPrefix+"*")
	if err != nil {
		return nil, err
	}
	held, err := hold(tmp)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(tmp))
	}
	return &folder{tmp: tmp, final: final, held: held}, os.Chmod(tmp, 0o755)
}

// hold locks a folder against sweep for as long as this process has it open.
func hold(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: dir, Err: err}, f.Close())
	}
	return f, nil
}

// sweep removes what builds left that were killed. A folder without a lock
// that is a moment old may still be about to get it.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if held, err := hold(path); err == nil {
			_ = os.RemoveAll(path)
			_ = held.Close()
		}
	}
}

// ErrNotImage is matched when the output folder exists and is not an image.
var ErrNotImage = errors.New("exists, and is neither empty nor an image and nothing else")

func mayReplace(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	for mark, names := range ours {
		foreign := func(e fs.DirEntry) bool { return !slices.Contains(names, e.Name()) }
		if _, err := os.Lstat(filepath.Join(path, mark)); err == nil && !slices.ContainsFunc(entries, foreign) {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%s: %w", path, ErrNotImage), err)
}

// path is a file of the folder while it is being filled.
func (f *folder) path(elem ...string) string {
	return filepath.Join(append([]string{f.tmp}, elem...)...)
}

// commit gives the folder its name; an older image there is replaced in one step.
func (f *folder) commit() error {
	err := unix.Renameat2(unix.AT_FDCWD, f.tmp, unix.AT_FDCWD, f.final, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		if err := mayReplace(f.final); err != nil {
			return err
		}
		err = unix.Renameat2(unix.AT_FDCWD, f.tmp, unix.AT_FDCWD, f.final, unix.RENAME_EXCHANGE)
	}
	if err != nil {
		return &fs.PathError{Op: "rename", Path: f.final, Err: err}
	}
	parent, err := os.Open(filepath.Dir(f.final))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// discard removes what is left: everything before commit, the replaced image after it.
func (f *folder) discard() {
	_ = os.RemoveAll(f.tmp)
	_ = f.held.Close()
}
