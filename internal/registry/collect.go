package registry

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// CollectConfig says what is garbage.
type CollectConfig struct {
	// DryRun only counts.
	DryRun bool
	// Grace spares what was pushed, mounted or asked for in the time before
	// the collection began: its manifest may come yet.
	Grace time.Duration
	// Untagged takes manifests that no tag, index or kept subject leads to.
	Untagged bool
	// Progress is told how many blobs were looked at; nil: nobody is.
	Progress func(blobs int64)
}

// Collected is what a collection did, or would have done.
type Collected struct {
	Repositories int      `json:"repositories"`
	Manifests    int64    `json:"manifests"` // taken, with Untagged
	Links        int64    `json:"links"`     // taken from repositories
	Blobs        int64    `json:"blobs"`     // taken from the pool
	Bytes        int64    `json:"bytes"`     // that those had
	Kept         int64    `json:"kept"`      // blobs that stay
	KeptBytes    int64    `json:"keptBytes"`
	Skipped      []string `json:"skipped"` // repositories that have a manifest that cannot be read
	DryRun       bool     `json:"dryRun"`
}

// clockTick is the resolution of a file's times, with room to spare.
const clockTick = 20 * time.Millisecond

// Collect takes away what no manifest names. Requests go on meanwhile: what a
// push has just brought, or found here, is spared by its time, and a manifest
// that is being pushed is waited for.
func (r *Registry) Collect(ctx context.Context, c CollectConfig) (*Collected, error) {
	if r.config.ReadOnly {
		return nil, errors.New("registry is read-only")
	}
	r.collecting.Lock()
	defer r.collecting.Unlock()
	r.committing.Lock() // those who began before have named what they need
	began := time.Now()
	r.spared.begin()
	r.committing.Unlock()
	defer r.spared.end()
	run := &collection{CollectConfig: c, registry: r, before: began.Add(-c.Grace - clockTick), freed: map[oci.Digest]int{}}
	run.did.Skipped = []string{}
	run.did.DryRun = c.DryRun
	if err := r.eachRepository(ctx, run.repository); err != nil {
		return nil, err
	}
	return &run.did, r.pool.Walk(ctx, run.blob)
}

// eachRepository visits all by name; the list is read by the page.
func (r *Registry) eachRepository(ctx context.Context, visit func(ctx context.Context, name string) error) (err error) {
	r.Repositories(func(name string) bool {
		if err = ctx.Err(); err == nil {
			err = visit(ctx, name)
		}
		return err == nil
	})
	return err
}

type collection struct {
	CollectConfig
	registry *Registry
	before   time.Time // what was touched later is spared
	freed    map[oci.Digest]int
	seen     int64
	did      Collected
}

// repository takes the links away that no manifest of the repository needs.
func (c *collection) repository(_ context.Context, name string) error {
	c.did.Repositories++
	needed, surplus, err := c.mark(name)
	if err != nil {
		c.registry.config.Logger.Error("repository is not collected", "repository", name, "cause", err)
		c.did.Skipped = append(c.did.Skipped, name)
		return nil
	}
	for _, d := range surplus {
		if err := c.dropManifest(name, d); err != nil {
			return err
		}
	}
	return eachLink(c.registry.folder(name), func(d oci.Digest, info fs.FileInfo) error {
		if needed[d] {
			return nil
		}
		return c.unlink(name, d, info)
	})
}

// dropManifest forgets a manifest, unless it is being pushed again: by a tag,
// or as part of an index.
func (c *collection) dropManifest(name string, d oci.Digest) error {
	r := c.registry
	r.linking.Lock()
	defer r.linking.Unlock()
	if r.spared.has(d) {
		return nil
	}
	c.did.Manifests++
	if c.DryRun {
		return nil
	}
	err := r.index.Delete(name, d)
	r.export()
	if errors.Is(err, index.ErrNotFound) {
		return nil
	}
	return err
}

// unlink takes a link away, unless it was made or asked for lately. Nobody
// makes one meanwhile.
func (c *collection) unlink(name string, d oci.Digest, info fs.FileInfo) error {
	r := c.registry
	r.linking.Lock()
	defer r.linking.Unlock()
	path := r.link(name, d)
	now, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || !c.garbage(d, pool.Changed(now)) {
		return err
	}
	c.did.Links++
	c.freed[d]++
	if c.DryRun {
		return nil
	}
	r.usage.freed(name, info.Size())
	return os.Remove(path)
}

// garbage says whether nobody wanted a blob lately. Its time is also that of
// the last link that was taken from it; who wants it meanwhile is noted.
func (c *collection) garbage(d oci.Digest, changed time.Time) bool {
	if c.registry.spared.has(d) || c.registry.config.Pinned != nil && c.registry.config.Pinned(d) {
		return false
	}
	return c.freed[d] > 0 || changed.Before(c.before)
}

// blob takes a blob out of the pool that nobody holds.
func (c *collection) blob(i pool.Info) error {
	if c.seen++; c.Progress != nil && c.seen%1000 == 0 {
		c.Progress(c.seen)
	}
	took, err := c.take(i)
	switch {
	case err != nil:
		return err
	case took:
		c.did.Blobs++
		c.did.Bytes += i.Size
	default:
		c.did.Kept++
		c.did.KeptBytes += i.Size
	}
	return nil
}

func (c *collection) take(i pool.Info) (bool, error) {
	r := c.registry
	r.linking.Lock()
	defer r.linking.Unlock()
	if c.DryRun {
		return i.Links-c.freed[i.Digest] == 1 && c.garbage(i.Digest, i.Since), nil
	}
	if i.Links > 1 || !c.garbage(i.Digest, i.Since) {
		return false, nil
	}
	took, err := r.pool.RemoveUnused(i.Digest)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if took {
		r.usage.removed(i.Size)
	}
	return took, err
}
