package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/ahead"
	"holdfast/internal/enc"
)

// A Reader reads one image's layers, each checked against its digest.
type Reader struct {
	Image // what Inspect tells
	img   *image
}

// Read opens an image for reading.
func Read(ctx context.Context, src Ref, o Options) (*Reader, error) {
	img, err := open(ctx, src, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", src, err)
	}
	return &Reader{img.inspect(ctx, src), img}, nil
}

// Close frees what the image was read from.
func (r *Reader) Close() error { return r.img.Close() }

// ErrEncrypted says that a layer has no bytes for who has no key.
var ErrEncrypted = errors.New("the layer is encrypted")

// Layer streams the tar within layer i, uncompressed, and decrypted by
// whichever of keys fits. Its end is an error unless all bytes of the layer
// matched its digest, and its MAC when it is encrypted.
func (r *Reader) Layer(ctx context.Context, i int, keys ...enc.Key) (io.ReadCloser, error) {
	desc := r.img.manifest.Layers[i]
	packed, err := r.packed(ctx, desc, keys)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	plain, err := decompress(packed)
	if err != nil {
		if _, rest := io.Copy(io.Discard, packed); rest != nil {
			err = rest
		}
		return nil, errors.Join(fmt.Errorf("layer %s: %w", desc.Digest, err), packed.Close())
	}
	l := &layerReader{plain, packed, string(desc.Digest)}
	unpacked := ahead.Reader(l)
	return both{unpacked, &closers{l, unpacked}}, nil
}

// packed is the compressed layer, in plain. Hashing, decrypting, decompressing
// and what the caller does share the processors.
func (r *Reader) packed(ctx context.Context, desc ocispec.Descriptor, keys []enc.Key) (io.ReadCloser, error) {
	encrypted := enc.IsEncrypted(desc.MediaType)
	if encrypted && len(keys) == 0 {
		return nil, ErrEncrypted
	}
	body, err := r.img.open(ctx, desc)
	if err != nil || !encrypted {
		return body, err
	}
	c := &closers{body}
	hashed := ahead.Reader(body)
	*c = append(*c, hashed)
	options, err := enc.Unwrap(ctx, desc.Annotations, keys...)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	plain, err := enc.Decrypt(hashed, options)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	decrypted := ahead.Reader(plain)
	*c = append(*c, decrypted)
	return both{decrypted, c}, nil
}

// both is a reader at the near end of a pipe, and what ends the pipe.
type both struct {
	io.Reader
	io.Closer
}

// closers end a pipe from its far end.
type closers []io.Closer

func (c *closers) Close() (err error) {
	for _, one := range slices.Backward(*c) {
		err = errors.Join(err, one.Close())
	}
	return err
}

// A layerReader ends when what it unpacks has ended too: only there does the
// verifier below have its say.
type layerReader struct {
	plain, packed io.ReadCloser
	digest        string
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.plain.Read(p)
	if err != nil { // the verdict on the whole outranks what altered bytes led to
		if _, rest := io.Copy(io.Discard, l.packed); rest != nil {
			err = rest
		}
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("layer %s: %w", l.digest, err)
	}
	return n, err
}

func (l *layerReader) Close() error { return errors.Join(l.plain.Close(), l.packed.Close()) }
