package ipfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/singleflight"

	"holdfast/internal/blob/pool"
	"holdfast/internal/oci"
)

// Dir is the folder of index and kept blobs within a registry's.
const Dir = ".ipfs"

// Config says whose blobs are served.
type Config struct {
	Pool    *pool.Pool
	Dir     string        // of the index; made when something is written
	Staging int64         // bytes of blocks that were put; 32 MiB when 0
	Quiet   time.Duration // for which nothing was stored before the index is written; 2 s when 0
	Logger  *slog.Logger

	// Rotten is told of a blob whose bytes are not its digest's, once it is in
	// quarantine. It must not block.
	Rotten func(oci.Digest)
}

// A Store is the pool's blobs as blocks; it implements blockstore.Blockstore.
// Blocks that are put stay in memory, the latest ones only: what shall stay
// becomes a blob.
type Store struct {
	config  Config
	index   index
	staging *staging
	builds  singleflight.Group
	turns   chan struct{} // one for each blob whose DAG is being made
	settler *settler
	hear    atomic.Pointer[func(oci.Digest)]
}

var _ blockstore.Blockstore = (*Store)(nil)

// New opens the store. Nothing is read, and nothing runs until Start.
func New(c Config) (*Store, error) {
	if c.Pool == nil || c.Dir == "" {
		return nil, errors.New("ipfs store: it needs a pool and a folder")
	}
	if c.Staging == 0 {
		c.Staging = 32 << 20
	}
	if c.Quiet == 0 {
		c.Quiet = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{config: c, staging: newStaging(c.Staging), turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
	s.index.path = filepath.Join(c.Dir, "index.db")
	s.settler = newSettler(s)
	return s, nil
}

// Close ends what Start began and lets go of the index.
func (s *Store) Close() error {
	s.settler.stop()
	s.index.close()
	return nil
}

// DAG is the DAG of the blob d, made now if nobody did before: that takes as
// long as reading the blob. It wraps blob.ErrNotFound when there is no d.
func (s *Store) DAG(ctx context.Context, d oci.Digest) (DAG, error) {
	info, err := s.config.Pool.Stat(d)
	if err != nil {
		return DAG{}, err
	}
	if info.Size <= MaxBlock {
		c, err := DigestCID(d)
		return DAG{Root: c, Size: info.Size}, err
	}
	known, err := s.known(d)
	if err != nil {
		return DAG{}, err
	}
	if known != nil {
		return DAG{Root: known.root, Size: known.size}, nil
	}
	made, err, _ := s.builds.Do(string(d), func() (any, error) { return s.build(ctx, d) })
	switch {
	case gaveUp(err) && ctx.Err() == nil: // he who began, not this one
		return s.DAG(ctx, d)
	case err != nil:
		return DAG{}, fmt.Errorf("DAG of %s: %w", d, err)
	}
	return DAG{Root: made.(*DAG).Root, Size: info.Size}, nil
}

// Root is the root of d's DAG if it is known without reading d, else undefined.
func (s *Store) Root(d oci.Digest) (cid.Cid, error) {
	info, err := s.config.Pool.Stat(d)
	if err != nil {
		return cid.Undef, err
	}
	if info.Size <= MaxBlock {
		return DigestCID(d)
	}
	known, err := s.known(d)
	if err != nil || known == nil {
		return cid.Undef, err
	}
	return known.root, nil
}

// Indexed has each blob told to hear that gets its DAG from now on.
func (s *Store) Indexed(hear func(d oci.Digest)) { s.hear.Store(&hear) }

// known is what the index has of d. An index that is damaged is made anew.
func (s *Store) known(d oci.Digest) (*record, error) {
	known, err := s.index.dag(d)
	return known, s.repair(err)
}

func gaveUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// build makes the DAG of d and writes it down. Peers choose how many are asked
// for: no more are made at once than there are processors.
func (s *Store) build(ctx context.Context, d oci.Digest) (*DAG, error) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := s.config.Pool.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dag, err := Build(ctx, d, f)
	if err != nil {
		s.report(d, err)
		return nil, err
	}
	if err := s.write(func() error { return s.index.add(d, dag) }); err != nil {
		return nil, err
	}
	if hear := s.hear.Load(); hear != nil {
		(*hear)(d)
	}
	return dag, nil
}
