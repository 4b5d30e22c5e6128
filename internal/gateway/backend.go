package gateway

import (
	"context"

	"github.com/ipfs/boxo/blockservice"
	boxo "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"holdfast/internal/blob/ipfs"
)

// A backend is boxo's, but for the bytes of files: boxo reads ten blocks ahead,
// which are 10 MiB for each client, however slow it is.
type backend struct {
	*boxo.BlocksBackend
	blocks blockservice.BlockService
}

// Get gives a file from the start of the first range on, as the library wants
// it; what is no file, or was not found, is the library's.
func (b backend) Get(ctx context.Context, p path.ImmutablePath, ranges ...boxo.ByteRange) (boxo.ContentPathMetadata, *boxo.GetResponse, error) {
	md, err := b.ResolvePath(ctx, p)
	if err != nil || len(md.LastSegmentRemainder) > 0 || md.LastSegment.RootCid().Type() != cid.DagProtobuf {
		return b.BlocksBackend.Get(ctx, p, ranges...)
	}
	f, err := ipfs.OpenFile(ctx, b.blocks, md.LastSegment.RootCid())
	if err != nil {
		return b.BlocksBackend.Get(ctx, p, ranges...)
	}
	md.ModTime = f.ModTime
	if len(ranges) > 0 {
		f.Skip(start(ranges[0], f.Size))
	}
	return md, boxo.NewGetResponseFromReader(f, f.Size), nil
}

// start is where a range begins; behind the end, the library refuses it.
func start(r boxo.ByteRange, size int64) int64 {
	if r.From < 0 {
		return size + r.From
	}
	return r.From
}
