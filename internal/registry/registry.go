// Package registry serves OCI images: the distribution API over a folder that
// holds an OCI image layout for each repository and one pool for the bytes of
// them all.
//
// A blob that was acknowledged survives a killed process, a manifest survives
// a power cut with all that it names. What an interrupted upload left can be
// gone on with, and expires. Bytes are checked when they come: no name is
// given to what it does not name.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
	"holdfast/internal/registry/index"
)

// Config says what to serve.
type Config struct {
	Dir         string // holds the repositories; made when absent, unless read-only
	ReadOnly    bool   // serves the layouts in Dir as they are and refuses every push
	MaxManifest int64  // bytes; 4 MiB when 0
	MaxBlob     int64  // bytes; 16 GiB when 0
	Quota       Quota
	Expiry      time.Duration // after which an upload that nobody goes on with is dropped; 24 hours when 0
	Recheck     time.Duration // after which a blob is hashed again before it is given out; 10 minutes when 0, each time when negative
	Logger      *slog.Logger

	Access   Access                  // nil: everybody may do everything
	Sources  []Source                // where to look for what is missing
	Gate     Gate                    // nil: every manifest may come and go
	Stored   func(d oci.Digest)      // is told of each blob that was stored, and must not block
	Pinned   func(d oci.Digest) bool // says what no collection may take, beside what repositories name
	Observer Observer                // nil: nobody counts
}

// ErrInUse says that another process serves the folder.
var ErrInUse = errors.New("folder is served by another process")

// A Registry is an http.Handler for the paths under /v2/.
type Registry struct {
	config    Config
	index     *index.DB
	pool      *pool.Pool // nil when read-only
	uploads   *uploads
	fetches   fetches
	usage     *usage
	doubt     *doubt
	sightings sightings
	unlock    func() error

	big      chan struct{} // holds a place for each large manifest in memory
	slowest  time.Duration // for which it is held at most, by who sends nothing
	stalled  time.Duration // for which a client may send nothing of a body
	opening  sync.Mutex    // held while a repository is made or taken into the index
	imported map[string]time.Time

	collecting sync.Mutex    // held by the collection under way
	recovering chan struct{} // holds a place for each blob that is looked for after it rotted
	spared     spared        // from it
	linking    sync.RWMutex  // held for writing by the collector while it takes one link away
	committing sync.RWMutex  // held by each push of a manifest; the collector waits for those under way

	rooted     sync.Map // folder of blobs → that the names leading to it are on the disk
	background sync.WaitGroup
	exporting  exporter
	ctx        context.Context // ends with the registry
	stop       context.CancelFunc

	mu     sync.RWMutex // held by each request; guards closed
	closed bool
}

// maxBig bounds the manifests of more than bigManifest bytes that are taken
// at a time.
const (
	maxBig      = 16
	bigManifest = 256 << 10
	slowest     = 2 * time.Minute
	stalled     = time.Minute
)

// New opens the folder, and holds it against other processes until Close.
func New(c Config) (*Registry, error) {
	if c.Dir == "" {
		return nil, errors.New("registry: no folder given")
	}
	c = c.withDefaults()
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r := &Registry{
		config: c, unlock: func() error { return nil },
		big: make(chan struct{}, maxBig), slowest: slowest, stalled: stalled, exporting: exporter{make(chan struct{}, 1)}, imported: map[string]time.Time{},
		recovering: make(chan struct{}, maxRecovering),
	}
	r.sightings.window = c.Recheck
	r.ctx, r.stop = context.WithCancel(context.Background())
	if err := r.prepare(); err != nil {
		return nil, fmt.Errorf("registry %s: %w", c.Dir, errors.Join(err, r.unlock()))
	}
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.MaxManifest <= 0 {
		c.MaxManifest = 4 << 20
	}
	if c.MaxBlob <= 0 {
		c.MaxBlob = 16 << 30
	}
	if c.Expiry <= 0 {
		c.Expiry = 24 * time.Hour
	}
	if c.Recheck == 0 {
		c.Recheck = 10 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (r *Registry) prepare() (err error) {
	if r.config.ReadOnly {
		if _, err := os.ReadDir(r.config.Dir); err != nil {
			return err
		}
		r.index, err = index.OpenTemporary()
		return err
	}
	if err := r.takeFolder(); err != nil {
		return err
	}
	if r.pool, err = pool.New(filepath.Join(r.config.Dir, pool.Dir)); err != nil {
		return err
	}
	if r.uploads, err = openUploads(filepath.Join(r.config.Dir, ".uploads"), r.config.Expiry); err != nil {
		return err
	}
	r.usage = newUsage(r)
	if err := r.openDoubt(); err != nil {
		return err
	}
	return r.openIndex()
}

func (r *Registry) takeFolder() error {
	if err := os.MkdirAll(r.config.Dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	unlock, err := atomicfile.Lock(ctx, filepath.Join(r.config.Dir, ".lock"))
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrInUse
	}
	if err == nil {
		r.unlock = unlock
	}
	return err
}

// openIndex opens the index. A folder that has none yet may hold repositories
// from before there was one.
func (r *Registry) openIndex() error {
	path := filepath.Join(r.config.Dir, ".index.db")
	_, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if r.index, err = index.Open(path); err != nil {
		return err
	}
	if !fresh {
		return nil
	}
	if err := r.importAll(); err != nil {
		return errors.Join(err, r.index.Close(), os.Remove(path))
	}
	return nil
}

// Pool is where the blobs are; nil when the registry is read-only.
func (r *Registry) Pool() *pool.Pool { return r.pool }

// Close waits for the requests under way, so shut the HTTP server down first,
// and lets go of the folder. Later requests are refused.
func (r *Registry) Close() error {
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.background.Wait()
	if r.config.ReadOnly {
		return r.index.Close()
	}
	return errors.Join(r.exportStale(context.Background()), r.index.Close(), r.closeDoubt(), r.unlock())
}
