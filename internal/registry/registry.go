// Package registry serves OCI images: the distribution API over a folder of
// OCI image layouts, one for each repository.
//
// What was acknowledged stays: when a push is answered its bytes are on the
// disk, nothing that was pushed is ever collected as garbage, and whatever an
// interrupted upload left is swept at the next start. Clients trust digests,
// not this server, so it checks blobs when they come and not when they go.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"

	"holdfast/internal/atomicfile"
	"holdfast/internal/oci"
)

// Config says what to serve.
type Config struct {
	Dir         string // holds the repositories; made when absent, unless read-only
	ReadOnly    bool   // refuses every push
	MaxManifest int64  // bytes; 4 MiB when 0
	MaxBlob     int64  // bytes; 16 GiB when 0
	Logger      *slog.Logger

	Access   Access             // nil: everybody may do everything
	Sources  []Source           // where to look for what is missing
	Gate     Gate               // nil: every manifest may come and go
	Stored   func(d oci.Digest) // is told of each blob that was stored, and must not block
	Observer Observer           // nil: nobody counts
}

// never is longer than any blob is old. The library collects what is older
// than its grace period and unreferenced, where "unreferenced" includes
// manifests that could not be opened just then.
const never = 200 * 365 * 24 * time.Hour

// maxUploads bounds the unfinished uploads of a repository, each of which
// holds a file open; the oldest give way.
const maxUploads = 100

// ErrInUse says that another process serves the folder.
var ErrInUse = errors.New("folder is served by another process")

// A Registry is an http.Handler for the paths under /v2/.
type Registry struct {
	config   Config
	api      *olareg.Server
	readOnly *bool // the library's own; true silences its collector
	unlock   func() error

	known  sync.Map   // name → *sync.Once that had the library read it
	making sync.Mutex // held while a repository is made
	index  sync.Mutex // held while an index is synced
	pushes pushes

	mu     sync.RWMutex // held by each request; guards closed
	closed bool
}

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
	readOnly := c.ReadOnly
	r := &Registry{config: c, readOnly: &readOnly, unlock: func() error { return nil }}
	if err := r.takeFolder(); err != nil {
		return nil, fmt.Errorf("registry %s: %w", c.Dir, err)
	}
	no := false
	r.api = olareg.New(config.Config{
		Storage: config.ConfigStorage{
			StoreType: config.StoreDir, RootDir: c.Dir, ReadOnly: r.readOnly,
			GC: config.ConfigGC{Frequency: -1, GracePeriod: never, RepoUploadMax: maxUploads, EmptyRepo: &no},
		},
		API: config.ConfigAPI{Manifest: config.ConfigAPIManifest{Limit: c.MaxManifest}},
		Log: c.Logger,
	})
	return r, nil
}

func (c Config) withDefaults() Config {
	if c.MaxManifest <= 0 {
		c.MaxManifest = 4 << 20
	}
	if c.MaxBlob <= 0 {
		c.MaxBlob = 16 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (r *Registry) takeFolder() error {
	if r.config.ReadOnly {
		_, err := os.ReadDir(r.config.Dir)
		return err
	}
	if err := os.MkdirAll(r.config.Dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	unlock, err := atomicfile.Lock(ctx, filepath.Join(r.config.Dir, ".lock"))
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrInUse
	}
	if err != nil {
		return err
	}
	r.unlock = unlock
	r.pushes.dir = r.config.Dir
	return r.settle()
}

// ServeHTTP answers one request of the distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		http.Error(w, "registry is shutting down", http.StatusServiceUnavailable)
		return
	}
	switch {
	case !reads(q) && r.config.ReadOnly:
		refuse(w, http.StatusForbidden, "DENIED", "registry is read-only")
	case !r.admit(w, q):
	case reads(q):
		r.api.ServeHTTP(w, q)
	default:
		r.push(w, q)
	}
}

func reads(q *http.Request) bool { return q.Method == http.MethodGet || q.Method == http.MethodHead }

func (r *Registry) push(w http.ResponseWriter, q *http.Request) {
	if body, ok := r.limit(w, q); ok {
		d := &durable{ResponseWriter: w, dir: r.config.Dir, path: q.URL.Path, index: &r.index, body: body, log: r.config.Logger}
		r.pushes.begin()
		defer func() { r.pushes.end(d.lost) }()
		r.api.ServeHTTP(d, q)
	}
}

// Close waits for the requests under way, so shut the HTTP server down first,
// and lets go of the folder. Later requests are refused.
func (r *Registry) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	*r.readOnly = true // its Close would collect garbage
	if err := r.api.Close(); err != nil {
		r.config.Logger.Debug("registry closed with uploads under way", "cause", err)
	}
	return errors.Join(r.pushes.close(), r.unlock())
}
