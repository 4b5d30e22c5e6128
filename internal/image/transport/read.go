package transport

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// Layer streams the tar within layer i, uncompressed. Its end is an error
// unless all bytes of the layer matched its digest.
func (r *Reader) Layer(ctx context.Context, i int) (io.ReadCloser, error) {
	desc := r.img.manifest.Layers[i]
	if enc.IsEncrypted(desc.MediaType) {
		return nil, fmt.Errorf("layer %s: %w", desc.Digest, ErrEncrypted)
	}
	packed, err := r.img.open(ctx, desc)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", desc.Digest, err)
	}
	plain, err := decompress(packed)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("layer %s: %w", desc.Digest, err), packed.Close())
	}
	return &layerReader{plain, packed, string(desc.Digest)}, nil
}

// A layerReader ends when what it unpacks has ended too: only there does the
// verifier below have its say.
type layerReader struct {
	plain, packed io.ReadCloser
	digest        string
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.plain.Read(p)
	if err == io.EOF {
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
