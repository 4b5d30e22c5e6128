package ipfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	car "github.com/ipld/go-car/v2"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"holdfast/internal/atomicfile"
	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// kept is the folder of links to blobs that no repository names and that are
// to stay all the same.
const kept = "kept"

// Add makes a blob of what r holds, which is read twice, and keeps it.
func (s *Store) Add(ctx context.Context, r io.ReadSeeker) (oci.Digest, DAG, error) {
	dag, d, err := BuildUnnamed(ctx, r)
	if err != nil {
		return "", DAG{}, err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return "", DAG{}, err
	}
	if err := s.put(ctx, d, r); err != nil {
		return "", DAG{}, err
	}
	if dag.Size > MaxBlock {
		if err := s.write(func() error { return s.index.add(d, dag) }); err != nil {
			s.config.Logger.Warn("a blob is not in the index yet", "digest", d, "cause", err) // it is a blob all the same
		}
	}
	return d, DAG{Root: dag.Root, Size: dag.Size}, nil
}

// put gives the pool a blob and links it.
func (s *Store) put(ctx context.Context, d oci.Digest, r io.Reader) error {
	if has, err := s.config.Pool.Has(ctx, d); err != nil {
		return err
	} else if !has {
		if err := s.config.Pool.Put(ctx, d, r); err != nil {
			return err
		}
	}
	path := s.keptPath(d)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return errors.Join(s.config.Pool.Link(d, path), atomicfile.SyncDir(filepath.Dir(path)))
}

func (s *Store) keptPath(d oci.Digest) string {
	return filepath.Join(s.config.Dir, kept, d.Algorithm(), d.Hex())
}

// Drop no longer keeps d: it stays while a repository names it.
func (s *Store) Drop(d oci.Digest) error {
	err := os.Remove(s.keptPath(d))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", d, ErrNotKept)
	}
	return err
}

// ErrNotKept says that Add and Import did not make a blob, or Drop was there.
var ErrNotKept = errors.New("blob is not kept")

// IsKept says whether d stays though no repository may name it.
func (s *Store) IsKept(d oci.Digest) bool {
	_, err := os.Lstat(s.keptPath(d))
	return err == nil
}

// A KeptBlob stays though no repository may name it.
type KeptBlob struct {
	Digest oci.Digest
	Size   int64
}

// Kept gives what is kept in the folder of an index, n blobs at most, and says
// whether there are more.
func Kept(dir string, n int) (list []KeptBlob, more bool, err error) {
	for _, algorithm := range []string{"sha256", "sha512"} {
		f, err := os.Open(filepath.Join(dir, kept, algorithm))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		infos, err := f.Readdir(n - len(list) + 1)
		if err = errors.Join(ignoreEOF(err), f.Close()); err != nil {
			return nil, false, err
		}
		for _, info := range infos {
			d, err := oci.ParseDigest(algorithm + ":" + info.Name())
			if err != nil {
				continue // a link on its way to its name
			}
			if len(list) == n {
				more = true
				break
			}
			list = append(list, KeptBlob{d, info.Size()})
		}
	}
	slices.SortFunc(list, func(a, b KeptBlob) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	return list, more, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Imported is what came of a CAR.
type Imported struct {
	Roots  []cid.Cid
	Blocks int
	Bytes  int64
}

// maxHeader bounds the list of roots of a CAR.
const maxHeader = 1 << 20

// Import makes a blob of each block of a CAR, version 1 or 2, and keeps it.
// Every block is hashed; what came before a bad one stays.
// https://ipld.io/specs/transport/car/
func (s *Store) Import(ctx context.Context, r io.Reader) (Imported, error) {
	blocks, err := car.NewBlockReader(r, car.MaxAllowedHeaderSize(maxHeader), car.MaxAllowedSectionSize(MaxBlock+1024), car.WithTrustedCAR(true))
	if err != nil {
		return Imported{}, fmt.Errorf("CAR: %w", err)
	}
	in := Imported{Roots: blocks.Roots}
	for {
		b, err := blocks.Next()
		if errors.Is(err, io.EOF) {
			return in, nil
		}
		if err == nil {
			err = s.importBlock(ctx, b.Cid(), b.RawData())
		}
		if err != nil {
			return in, fmt.Errorf("CAR: block %d: %w", in.Blocks+1, err)
		}
		in.Blocks, in.Bytes = in.Blocks+1, in.Bytes+int64(len(b.RawData()))
	}
}

// importBlock hashes a block, and makes a blob of it.
func (s *Store) importBlock(ctx context.Context, c cid.Cid, b []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.Prefix().MhType == multihash.IDENTITY {
		return nil // the name holds it
	}
	if len(b) > MaxBlock {
		return fmt.Errorf("%s: %d bytes, more than %d", c, len(b), MaxBlock)
	}
	want, err := DigestOf(c)
	if err != nil {
		return err
	}
	sum, err := c.Prefix().Sum(b)
	if err != nil {
		return err
	}
	if got, err := DigestOf(sum); err != nil || got != want {
		return errors.Join(err, &blob.MismatchError{Want: want, Got: got})
	}
	return s.put(ctx, want, bytes.NewReader(b))
}
