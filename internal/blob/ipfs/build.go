package ipfs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// Build reads the blob d to its end and makes its DAG, hashing leaves on all
// processors. Bytes that are not what d names are a *blob.MismatchError: a
// DAG over them would make them look good.
func Build(ctx context.Context, d oci.Digest, r io.Reader) (*DAG, error) {
	checked, err := blob.NewReader(d, r)
	if err != nil {
		return nil, err
	}
	leaves, size, err := hashLeaves(ctx, checked)
	if err != nil {
		return nil, err
	}
	if size <= MaxBlock {
		c, err := DigestCID(d)
		return &DAG{Root: c, Size: size}, err
	}
	return layout(leaves, size)
}

// BuildUnnamed is Build of a blob whose digest nobody knows yet, and gives
// its sha256.
func BuildUnnamed(ctx context.Context, r io.Reader) (*DAG, oci.Digest, error) {
	sum := sha256.New()
	leaves, size, err := hashLeaves(ctx, io.TeeReader(r, sum))
	if err != nil {
		return nil, "", err
	}
	d := oci.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil)))
	if size <= MaxBlock {
		c, err := DigestCID(d)
		return &DAG{Root: c, Size: size}, d, err
	}
	dag, err := layout(leaves, size)
	return dag, d, err
}

// A leaf is a chunk on its way to being hashed.
type leaf struct {
	number int
	bytes  []byte
}

// hashLeaves reads r in chunks. What a reader that hashes as well is held up
// by is its own hash: the leaves' run beside it.
func hashLeaves(ctx context.Context, r io.Reader) (leaves []cid.Cid, size int64, err error) {
	workers := runtime.GOMAXPROCS(0)
	chunks, free := make(chan leaf), make(chan []byte, workers+1)
	results := make(chan map[int]cid.Cid, workers)
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			sums := map[int]cid.Cid{}
			for c := range chunks {
				id, err := raw.Sum(c.bytes)
				if err != nil {
					return err
				}
				sums[c.number] = id
				free <- c.bytes[:chunkSize]
			}
			results <- sums
			return nil
		})
	}
	for range workers + 1 {
		free <- make([]byte, chunkSize)
	}
	count := 0
	g.Go(func() error {
		defer close(chunks)
		count, size, err = split(ctx, r, free, chunks)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	leaves = make([]cid.Cid, count)
	for range workers {
		for i, c := range <-results {
			leaves[i] = c
		}
	}
	return leaves, size, nil
}

// split sends r's chunks, each in a buffer that is free.
func split(ctx context.Context, r io.Reader, free <-chan []byte, chunks chan<- leaf) (count int, size int64, err error) {
	for {
		var b []byte
		select {
		case b = <-free:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
		n, err := io.ReadFull(r, b)
		size += int64(n)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return 0, 0, err
		}
		if n > 0 {
			select {
			case chunks <- leaf{count, b[:n]}:
			case <-ctx.Done():
				return 0, 0, ctx.Err()
			}
			count++
		}
		if last {
			return count, size, nil
		}
	}
}
