package registry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// A blob is acknowledged before it is synced, which a killed process does not
// mind. When the power goes, its name may lead to an empty file. So a folder
// that was not closed in order has what was named lately in doubt: such a blob
// is read before it is served or built on, and all of them are in time.

// servingFile is there while the folder is served, or has blobs in doubt. Its
// time is when all was last known to be on the disk.
const servingFile = ".serving"

const (
	syncedEvery = time.Minute // how often that time is noted
	clockStep   = time.Hour   // how far the clock may have been set back meanwhile
)

// doubt is the time in which what was named may not be on the disk.
type doubt struct {
	since, until time.Time // nothing is in doubt when since is zero
	settling     sync.Once

	mu      sync.Mutex
	settled bool
	noted   time.Time
}

// openDoubt finds out whether the folder was closed in order.
func (r *Registry) openDoubt() error {
	path := filepath.Join(r.config.Dir, servingFile)
	d := &doubt{settled: true, until: time.Now(), noted: time.Now()}
	r.doubt = d
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return atomicfile.WriteFile(path, nil, 0o644)
	}
	if err == nil {
		d.since, d.settled = info.ModTime().Add(-clockStep), false
	}
	return err
}

func (d *doubt) about(in pool.Info) bool {
	return !d.since.IsZero() && in.Since.After(d.since) && in.Since.Before(d.until)
}

// settle reads a blob that is in doubt. If it is whole it is doubted no more;
// if not, it is gone.
func (r *Registry) settle(ctx context.Context, d oci.Digest) error {
	f, err := r.pool.File(d)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = r.hash(ctx, d, f, info, io.Discard)
	}
	if err == nil {
		err = r.pool.Sync(d)
	}
	if err == nil {
		err = r.pool.Touch(d)
	}
	return err
}

// settleAll reads whatever is in doubt, beside the requests.
func (r *Registry) settleAll() {
	var doubted []oci.Digest
	err := r.pool.Walk(r.ctx, func(i pool.Info) error {
		if r.doubt.about(i) {
			doubted = append(doubted, i.Digest)
		}
		return nil
	})
	for _, d := range doubted {
		if lost := r.settle(r.ctx, d); lost != nil && !errors.Is(lost, blob.ErrNotFound) {
			err = errors.Join(err, lost)
		}
	}
	if err != nil {
		if r.ctx.Err() == nil {
			r.config.Logger.Error("blobs stay in doubt", "cause", err)
		}
		return
	}
	r.doubt.mu.Lock()
	defer r.doubt.mu.Unlock()
	r.doubt.settled = true
}

// beside starts what is to be done while requests come: once, to settle the
// doubts, and now and then to note that all is on the disk.
func (r *Registry) beside() {
	d := r.doubt
	if !d.since.IsZero() {
		d.settling.Do(func() { r.background.Go(r.settleAll) })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.settled && time.Since(d.noted) > syncedEvery {
		now := time.Now()
		d.noted = now
		r.background.Go(func() { _ = r.noteSynced(now) }) // else more is read again
	}
}

// noteSynced puts all that was stored before now on the disk.
func (r *Registry) noteSynced(now time.Time) error {
	f, err := os.Open(r.config.Dir)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	if err != nil {
		return err
	}
	return os.Chtimes(filepath.Join(r.config.Dir, servingFile), now, now)
}

// closeDoubt leaves the folder in order, unless there are doubts left.
func (r *Registry) closeDoubt() error {
	r.doubt.mu.Lock()
	defer r.doubt.mu.Unlock()
	if !r.doubt.settled {
		return nil
	}
	if err := r.noteSynced(time.Now()); err != nil {
		return err
	}
	return os.Remove(filepath.Join(r.config.Dir, servingFile))
}
