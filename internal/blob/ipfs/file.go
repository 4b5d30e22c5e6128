package ipfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"holdfast/internal/oci"
)

// Blob is the digest of the blob that c is the name of, "" when c is a part
// of one, or unknown.
func (s *Store) Blob(c cid.Cid) (oci.Digest, error) {
	places, err := s.find(c)
	if err != nil {
		return "", err
	}
	for _, at := range places {
		if own, err := DigestCID(at.blob); err == nil && own.Equals(c) {
			return at.blob, nil
		}
		dag, err := s.known(at.blob)
		if err != nil {
			return "", err
		}
		if dag != nil && dag.root.Equals(c) {
			return at.blob, nil
		}
	}
	return "", nil
}

// WriteFile writes the UnixFS file that c is the root of to w; every block is
// checked before it is written.
func (s *Store) WriteFile(ctx context.Context, c cid.Cid, w io.Writer) error {
	f, err := OpenFile(ctx, local{s}, c)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return errors.Join(err, f.Close())
}

// local gets blocks from a store and nowhere else.
type local struct{ *Store }

func (l local) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) { return l.Get(ctx, c) }

// A File is a UnixFS file being read, one block at a time.
type File struct {
	Size    int64     // of the whole
	ModTime time.Time // zero when it says none

	fetch *fetcher
	rest  []byte
}

// OpenFile reads the UnixFS file that root is the root of. It holds no more
// than one block, and wraps ErrForm when root is no file.
func OpenFile(ctx context.Context, g Getter, root cid.Cid) (*File, error) {
	b, err := g.GetBlock(ctx, root)
	if err != nil {
		return nil, err
	}
	f := &File{Size: int64(len(b.RawData()))}
	if root.Type() != cid.Raw {
		_, node, err := decodeFile(b)
		if err != nil {
			return nil, err
		}
		f.Size, f.ModTime = int64(node.FileSize()), node.ModTime()
		if f.Size < 0 {
			return nil, fmt.Errorf("%w: %s says that it has %d bytes", ErrForm, root, node.FileSize())
		}
	}
	f.fetch = newFetcher(ctx, g, root, f.Size, 1)
	return f, nil
}

// Skip goes ahead, before anything was read: what only passed bytes are in is
// not fetched.
func (f *File) Skip(bytes int64) { f.fetch.skip = max(0, min(bytes, f.Size)) }

func (f *File) Read(p []byte) (n int, err error) {
	if len(f.rest) == 0 {
		if f.rest, err = f.fetch.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Close ends what is under way.
func (f *File) Close() error {
	f.fetch.close()
	return nil
}
