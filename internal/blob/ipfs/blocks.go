package ipfs

import (
	"context"
	"errors"
	"io/fs"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"holdfast/internal/blob"
	"holdfast/internal/blob/pool"
)

// Get gives the block that c names, read now and hashed.
func (s *Store) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if b := s.staging.get(c); b != nil {
		return blocks.NewBlockWithCid(b, c)
	}
	places, err := s.find(c)
	if err != nil {
		return nil, err
	}
	for _, at := range places {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if b, ok := s.read(c, at); ok {
			return b, nil
		}
	}
	return nil, format.ErrNotFound{Cid: c}
}

// find says where c may be.
func (s *Store) find(c cid.Cid) ([]place, error) {
	if d, err := DigestOf(c); err == nil {
		if info, err := s.config.Pool.Stat(d); err == nil && info.Size <= MaxBlock {
			return []place{{blob: d, size: int(info.Size)}}, nil
		}
	}
	places, err := s.index.places(c)
	return places, s.repair(err)
}

// read gives the block at a place, if that is what is there.
func (s *Store) read(c cid.Cid, at place) (blocks.Block, bool) {
	b := at.bytes
	if b == nil {
		var err error
		if b, err = s.readFile(at); err != nil {
			s.unreadable(at, err)
			return nil, false
		}
	}
	got, err := c.Prefix().Sum(b)
	if err != nil {
		return nil, false
	}
	if !got.Equals(c) {
		s.wrong(c, at)
		return nil, false
	}
	block, err := blocks.NewBlockWithCid(b, c)
	return block, err == nil
}

func (s *Store) readFile(at place) ([]byte, error) {
	f, err := s.config.Pool.File(at.blob)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, at.size)
	_, err = f.ReadAt(b, at.offset)
	return b, err
}

// unreadable handles a place that could not be read: the blob may be gone,
// which the index then has to learn, or its disk may be failing.
func (s *Store) unreadable(at place, err error) {
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		s.settler.add(at.blob)
		return
	}
	s.config.Logger.Error("a block cannot be read", "digest", at.blob, "offset", at.offset, "cause", err)
	s.report(at.blob, err)
}

// wrong handles bytes that are not what c names. The blob's own digest says
// whether it rotted; if it did not, the index was wrong.
func (s *Store) wrong(c cid.Cid, at place) {
	if s.settler.check(at.blob) {
		s.config.Logger.Warn("a block is not what it should be", "cid", c, "digest", at.blob, "offset", at.offset)
	}
}

// Has says whether Get would find something, without reading it.
func (s *Store) Has(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := s.GetSize(ctx, c)
	if format.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// GetSize is the length of the block c, without reading it.
func (s *Store) GetSize(_ context.Context, c cid.Cid) (int, error) {
	if b := s.staging.get(c); b != nil {
		return len(b), nil
	}
	places, err := s.find(c)
	if err != nil {
		return -1, err
	}
	for _, at := range places {
		if _, err := s.config.Pool.Stat(at.blob); err == nil {
			return at.size, nil
		}
		s.settler.add(at.blob)
	}
	return -1, format.ErrNotFound{Cid: c}
}

// Put keeps a block in memory for a while.
func (s *Store) Put(_ context.Context, b blocks.Block) error {
	return s.staging.put(b.Cid(), b.RawData())
}

// PutMany is Put of several.
func (s *Store) PutMany(ctx context.Context, bs []blocks.Block) error {
	for _, b := range bs {
		if err := s.Put(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// DeleteBlock forgets a block that was put. Blobs are the registry's.
func (s *Store) DeleteBlock(_ context.Context, c cid.Cid) error {
	s.staging.remove(c)
	return nil
}

var errStop = errors.New("enough")

// AllKeysChan gives a raw CID for each blob that is one block, and the CIDs
// of all blocks of larger ones that are indexed.
func (s *Store) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	keys := make(chan cid.Cid)
	send := func(c cid.Cid) error {
		select {
		case keys <- c:
			return nil
		case <-ctx.Done():
			return errStop
		}
	}
	go func() { // ends with ctx, as the interface has it
		defer close(keys)
		err := s.config.Pool.Walk(ctx, func(i pool.Info) error {
			if i.Size > MaxBlock {
				return nil
			}
			c, err := DigestCID(i.Digest)
			if err != nil {
				return err
			}
			return send(c)
		})
		if err == nil {
			err = s.index.eachBlock(send)
		}
		if err != nil && !errors.Is(err, errStop) && ctx.Err() == nil {
			s.config.Logger.Error("blocks cannot be listed", "cause", err)
		}
	}()
	return keys, nil
}
