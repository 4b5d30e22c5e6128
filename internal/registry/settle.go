package registry

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// The library names files before anybody syncs them. When the power goes just
// then, a blob's name may lead to an empty file, and index.json, which has all
// tags of a repository, may be empty too. So the last index that is on the disk
// keeps a second name, and a folder that was not closed in order has the blobs
// read again that were named since somebody last knew them to be on the disk.
const (
	syncedIndex = ".index.synced"
	servingFile = ".serving" // there while the folder is served; its time is when all was synced
)

const (
	syncedEvery = time.Minute // how often that time is noted
	clockStep   = time.Hour   // how far the clock may have been set back meanwhile
)

// settle makes of what a kill or a power cut left what was acknowledged, and
// nothing that is half of anything.
func (r *Registry) settle() error {
	if err := sweep(r.config.Dir); err != nil {
		return err
	}
	serving := filepath.Join(r.config.Dir, servingFile)
	if info, err := os.Stat(serving); err == nil {
		if err := r.readAgain(info.ModTime().Add(-clockStep)); err != nil {
			return err
		}
	}
	return atomicfile.WriteFile(serving, nil, 0o644)
}

// settleIndex has index.json be the last that was synced, if it is none.
func settleIndex(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	synced := filepath.Join(filepath.Dir(path), syncedIndex)
	if json.Valid(raw) {
		return keepIndex(path)
	}
	raw, err = os.ReadFile(synced)
	if errors.Is(err, fs.ErrNotExist) {
		raw, err = []byte(emptyIndex), nil // nothing was acknowledged yet
	}
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, raw, 0o644)
}

// keepIndex syncs index.json and gives it its second name.
func keepIndex(path string) error {
	for {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err == nil {
			err = linkAs(f, filepath.Join(filepath.Dir(path), syncedIndex))
		}
		_ = f.Close()
		if !errors.Is(err, fs.ErrNotExist) {
			return err // else it was replaced meanwhile
		}
	}
}

// linkAs gives an open file another name, in place of what has it.
func linkAs(f *os.File, path string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if has, err := os.Stat(path); err == nil && os.SameFile(has, info) {
		return nil
	}
	temp := filepath.Join(filepath.Dir(path), ".tmp-"+rand.Text())
	if err := atomicfile.Link(f, temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// readAgain removes the blobs named since then that are not what their name
// says; those that are get synced.
func (r *Registry) readAgain(since time.Time) error {
	seen := map[uint64]bool{}
	return filepath.WalkDir(r.config.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		d, err := oci.ParseDigest(filepath.Base(filepath.Dir(path)) + ":" + entry.Name())
		if err != nil {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		status := info.Sys().(*syscall.Stat_t)
		if seen[status.Ino] || time.Unix(status.Ctim.Unix()).Before(since) {
			return nil
		}
		if err := settleBlob(path, d); err != nil {
			r.config.Logger.Warn("blob was not on the disk when the power went", "digest", d, "cause", err)
			return os.Remove(path)
		}
		seen[status.Ino] = true
		return nil
	})
}

func settleBlob(path string, d oci.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := blob.NewReader(d, f)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return f.Sync()
}

// pushes knows whether all that was pushed is on the disk.
type pushes struct {
	dir string

	mu     sync.Mutex
	now    int       // under way
	lost   bool      // one could not be synced
	synced time.Time // when all was, as the disk has it
}

func (p *pushes) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now++
}

// end notes, now and then, that nothing is under way.
func (p *pushes) end(lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now--
	p.lost = p.lost || lost
	if now := time.Now(); p.now == 0 && !p.lost && now.Sub(p.synced) > syncedEvery {
		p.synced = now
		_ = os.Chtimes(filepath.Join(p.dir, servingFile), now, now) // else more is read again
	}
}

// close says that the folder was left in order, if it was.
func (p *pushes) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost {
		return nil
	}
	err := os.Remove(filepath.Join(p.dir, servingFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
