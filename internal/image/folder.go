package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
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
	tmp, held, err := newTemporary(filepath.Dir(final))
	if err != nil {
		return nil, err
	}
	return &folder{tmp: tmp, final: final, held: held}, os.Chmod(tmp, 0o755)
}

// newTemporary makes a folder in dir that sweep leaves alone for as long as
// this process has it open. Making, locking and sweeping take turns by dir's
// own lock, so that no folder is ever seen without its maker's.
func newTemporary(dir string) (tmp string, held *os.File, err error) {
	turn, err := hold(dir, unix.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	defer turn.Close()
	sweep(dir)
	if tmp, err = os.MkdirTemp(dir, tmpPrefix+"*"); err != nil {
		return "", nil, err
	}
	if held, err = hold(tmp, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(tmp))
	}
	return tmp, held, nil
}

// hold locks a folder for as long as this process has it open.
func hold(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: dir, Err: err}, f.Close())
	}
	return f, nil
}

// sweep removes what builds left that were killed.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
	for _, path := range left {
		if held, err := hold(path, unix.LOCK_EX|unix.LOCK_NB); err == nil {
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

// writeFile makes a file of the folder. Commit syncs it.
func (f *folder) writeFile(content []byte, elem ...string) error {
	w, err := os.OpenFile(f.path(elem...), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return errors.Join(err, w.Chmod(0o644), w.Close()) // whatever the umask
}

// sync makes all that is in the folder outlive a power cut, its files at once:
// they then share what the file system has to do.
func (f *folder) sync() error {
	var files errgroup.Group
	err := filepath.WalkDir(f.tmp, func(path string, _ fs.DirEntry, err error) error {
		files.Go(func() error { return atomicfile.SyncDir(path) })
		return err
	})
	return errors.Join(err, files.Wait())
}

// commit gives the folder its name; an older image there is replaced in one step.
func (f *folder) commit() error {
	if err := f.sync(); err != nil {
		return err
	}
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
