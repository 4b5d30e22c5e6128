package ipfs

import (
	"context"
	"fmt"
	"io"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
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
	b, err := s.Get(ctx, c)
	if err != nil {
		return err
	}
	size, err := fileSize(b)
	if err != nil {
		return err
	}
	return Fetch(ctx, local{s}, c, size, w)
}

// fileSize is what a root says of its file's length.
func fileSize(b blocks.Block) (int64, error) {
	if b.Cid().Type() == cid.Raw {
		return int64(len(b.RawData())), nil
	}
	n, err := merkledag.DecodeProtobuf(b.RawData())
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrForm, b.Cid(), err)
	}
	file, err := unixfs.FSNodeFromBytes(n.Data())
	if err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrForm, b.Cid(), err)
	}
	return int64(file.FileSize()), nil
}

// local gets blocks from a store and nowhere else.
type local struct{ *Store }

func (l local) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) { return l.Get(ctx, c) }
