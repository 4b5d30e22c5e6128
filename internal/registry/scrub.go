package registry

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// VerifyConfig says how everything is read again.
type VerifyConfig struct {
	Rate     int64 // bytes a second; 0: as fast as the disk gives them
	Progress func(blobs, bytes int64)
}

// Verified is what reading everything again found.
type Verified struct {
	Blobs  int64    `json:"blobs"` // that were read
	Bytes  int64    `json:"bytes"`
	Rotten []Rotten `json:"rotten"`
}

// Rotten is a blob that was not what its name says. It is in quarantine.
type Rotten struct {
	Digest       oci.Digest `json:"digest"`
	Size         int64      `json:"size"`
	Cause        string     `json:"cause"`
	Repositories []string   `json:"repositories"` // that have it
	Fetched      bool       `json:"fetched"`      // and have it again, from a Source
}

// Verify reads every blob and says which are not what their names say. Those
// go to quarantine, from where nothing is served, and are looked for at the
// Sources.
func (r *Registry) Verify(ctx context.Context, c VerifyConfig) (*Verified, error) {
	if r.config.ReadOnly {
		return nil, errors.New("registry is read-only")
	}
	v := &Verified{Rotten: []Rotten{}}
	if err := r.adoptAll(ctx); err != nil {
		return nil, err
	}
	t := &throttled{ctx: ctx, rate: c.Rate, since: time.Now(), progress: func(bytes int64) {
		if c.Progress != nil {
			c.Progress(v.Blobs, bytes)
		}
	}}
	err := r.pool.Walk(ctx, func(i pool.Info) error {
		cause := r.verify(ctx, i, t)
		if err := ctx.Err(); err != nil {
			return err
		}
		if errors.Is(cause, blob.ErrNotFound) { // collected meanwhile
			return nil
		}
		v.Blobs++
		v.Bytes += i.Size
		if cause != nil {
			v.Rotten = append(v.Rotten, Rotten{Digest: i.Digest, Size: i.Size, Cause: cause.Error(), Repositories: []string{}})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for n := range v.Rotten {
		if err := r.recover(ctx, &v.Rotten[n]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// verify reads one blob; it is in quarantine when it cannot be read, or is
// another.
func (r *Registry) verify(ctx context.Context, i pool.Info, t *throttled) error {
	f, err := r.pool.Open(ctx, i.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	t.r = f
	_, err = io.Copy(io.Discard, t)
	return err
}

// adoptAll takes into the pool what layouts have beside it.
func (r *Registry) adoptAll(ctx context.Context) error {
	return r.eachRepository(ctx, func(ctx context.Context, name string) error {
		return eachLink(r.folder(name), func(d oci.Digest, _ fs.FileInfo) error {
			if _, err := r.pool.Stat(d); err == nil {
				return ctx.Err()
			}
			f, _, err := r.open(name, d)
			if err == nil {
				err = f.Close()
			}
			if isAbsent(err) { // or rotten, which is known then
				err = nil
			}
			return err
		})
	})
}

// maxRecovering bounds the blobs that are looked for at a time because somebody
// found them rotten. Others are fetched when a client asks for them.
const maxRecovering = 8

// Recover looks for a blob at the Sources that somebody else found rotten, and
// put into quarantine. It does so beside the requests.
func (r *Registry) Recover(d oci.Digest) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed || r.config.ReadOnly || len(r.config.Sources) == 0 {
		return
	}
	select {
	case r.recovering <- struct{}{}:
	default:
		return
	}
	r.background.Go(func() {
		defer func() { <-r.recovering }()
		lost := Rotten{Digest: d}
		err := r.recover(r.ctx, &lost)
		if len(lost.Repositories) > 0 && !lost.Fetched && r.ctx.Err() == nil {
			r.config.Logger.Warn("a rotten blob was not found elsewhere", "digest", d, "repositories", len(lost.Repositories), "cause", err)
		}
	})
}

// recover finds the repositories that have a rotten blob, and the blob.
func (r *Registry) recover(ctx context.Context, rotten *Rotten) error {
	err := r.eachRepository(ctx, func(_ context.Context, name string) error {
		if r.has(name, rotten.Digest) {
			rotten.Repositories = append(rotten.Repositories, name)
		}
		return nil
	})
	if err != nil || len(r.config.Sources) == 0 {
		return err
	}
	for _, name := range rotten.Repositories {
		if r.refetch(ctx, name, rotten.Digest) == nil {
			rotten.Fetched = true
			break
		}
	}
	return ctx.Err()
}

// refetch brings a blob from the Sources, for nobody in particular.
func (r *Registry) refetch(ctx context.Context, name string, d oci.Digest) error {
	return r.bring(ctx, name, d, r.config.MaxBlob)
}

// throttled reads no faster than its rate.
type throttled struct {
	ctx   context.Context
	r     io.Reader
	rate  int64
	read  int64
	since time.Time

	progress func(bytes int64)
}

func (t *throttled) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.read += int64(n)
	t.progress(t.read)
	if t.rate <= 0 {
		return n, err
	}
	due := t.since.Add(time.Duration(float64(t.read) / float64(t.rate) * float64(time.Second)))
	if wait := time.Until(due); wait > 0 {
		select {
		case <-time.After(wait):
		case <-t.ctx.Done():
		}
	}
	return n, err
}
