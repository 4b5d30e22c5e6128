package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"holdfast/internal/ahead"
	"holdfast/internal/enc"
)

// unpack makes the container's root: all layers in a staging folder, which
// gets the root's name when every one of them was found genuine.
func (g *guest) unpack(ctx context.Context, b *bundle) error {
	room, err := g.room()
	if err != nil {
		return err
	}
	return staged(b.path("staging"), b.path("rootfs"), func(u *unpacker) error {
		u.room = room
		keys := g.keys()
		for i, l := range g.image.manifest.Layers {
			if err := g.layer(ctx, l, keys, u); err != nil {
				return fmt.Errorf("layer %d of %d (%.19s): %w", i+1, len(g.image.manifest.Layers), l.Digest, err)
			}
		}
		return nil
	})
}

// Unpack makes the folder dir, which must not be there, of layers: tar streams
// that end without error only when they are genuine. The folder is whole or
// absent; files have the owners that the layers say, so it takes root.
func Unpack(dir string, layers iter.Seq2[io.Reader, error]) error {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(&os.PathError{Op: "make", Path: dir, Err: os.ErrExist}, err)
	}
	return staged(dir+".unpacking", dir, func(u *unpacker) error {
		for layer, err := range layers {
			if err != nil {
				return err
			}
			unpacked := u.unpack(layer)
			if _, err := io.Copy(io.Discard, layer); err != nil {
				return err // outranks what altered content made of it
			}
			if unpacked != nil {
				return unpacked
			}
		}
		return nil
	})
}

// staged lets fill work in a staging folder, which gets its name at the end.
func staged(staging, final string, fill func(*unpacker) error) (err error) {
	if err := os.Mkdir(staging, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil { // nothing stays of what may not be genuine
			err = errors.Join(err, os.RemoveAll(staging))
		}
	}()
	t, err := openTree(staging)
	if err != nil {
		return err
	}
	defer t.Close()
	u := newUnpacker(t)
	if err := fill(u); err != nil {
		return err
	}
	if err := u.finish(); err != nil {
		return err
	}
	return os.Rename(staging, final)
}

// room is how many bytes a layer may unpack to.
func (g *guest) room() (int64, error) {
	if g.Space > 0 {
		return g.Space, nil
	}
	var s unix.Statfs_t
	if err := unix.Statfs(g.Dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: g.Dir, Err: err}
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// layer is one pipe: body, digest, decryption with MAC, decompression, files.
// The verdict on the whole layer outranks whatever the altered content of it
// made the later parts complain about.
func (g *guest) layer(ctx context.Context, l v1.Descriptor, keys enc.KeyFor, u *unpacker) error {
	d, err := checkDigest(l)
	if err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := g.registry.open(reading, "blobs", string(d))
	if err != nil {
		return err
	}
	defer body.Close()
	genuine := ahead.Reader(verify(body, d, l.Size)) // hashed on another processor than the rest
	defer genuine.Close()
	defer cancel() // it may be waiting for the registry
	plain, err := decrypt(ctx, l, keys, genuine)
	if err != nil {
		return err
	}
	unpacked := unpackFrom(plain, l.MediaType, u)
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return err
	}
	return unpacked
}

// keys asks the broker for each key once: the layers of an image have mostly
// one. Without a broker it is nil.
func (g *guest) keys() enc.KeyFor {
	if g.Broker == nil {
		return nil
	}
	have := map[string][]byte{}
	return func(ctx context.Context, kid string) ([]byte, error) {
		if have[kid] == nil {
			key, err := g.Broker.Resource(ctx, kid)
			if err != nil {
				return nil, err
			}
			have[kid] = key
		}
		return have[kid], nil
	}
}

// decrypt returns r itself when the layer is not encrypted: its digest alone
// vouches for it then.
func decrypt(ctx context.Context, l v1.Descriptor, keys enc.KeyFor, r io.Reader) (io.Reader, error) {
	if !enc.IsEncrypted(l.MediaType) {
		return r, nil
	}
	if keys == nil {
		return nil, errors.New("it is encrypted, and there is no broker to ask for the key")
	}
	options, err := enc.Unwrap(ctx, l.Annotations, enc.BrokerKey(keys))
	if err != nil {
		return nil, err
	}
	return enc.Decrypt(r, options)
}

func unpackFrom(r io.Reader, mediaType string, u *unpacker) error {
	archive, err := decompress(r, mediaType)
	if err != nil {
		return err
	}
	defer archive.Close()
	return u.unpack(archive)
}

// maxWindow bounds the memory that a zstd layer may ask for.
const maxWindow = 128 << 20

// decompress reads what image-spec 1.1, "Image Layer Filesystem Changeset",
// allows, and Docker's name for it.
func decompress(r io.Reader, mediaType string) (io.ReadCloser, error) {
	kind := strings.TrimSuffix(mediaType, enc.Suffix)
	switch {
	case strings.Contains(kind, "nondistributable") || strings.Contains(kind, "foreign"):
	case strings.HasSuffix(kind, ".tar"):
		return io.NopCloser(r), nil
	case strings.HasSuffix(kind, ".tar+gzip") || strings.HasSuffix(kind, ".tar.gzip"):
		return gzip.NewReader(r)
	case strings.HasSuffix(kind, ".tar+zstd"):
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("media type %.100q: want a tar layer, plain, gzip or zstd", mediaType)
}
