package transport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/input"
	"holdfast/internal/progress"
)

// openArchive converts an archive to a layout of its own, and reads that. The
// same archive gives the same image each time: its config stays as it is, and
// its layers are packed the same way.
func openArchive(ctx context.Context, ref Ref, o Options) (source, error) {
	f, err := spool(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := indexArchive(ctx, f)
	if err != nil {
		return nil, err
	}
	entry, err := a.pick(ref.Name)
	if err != nil {
		return nil, err
	}
	return stage(ctx, o, func(l *layoutWriter) error { return a.convert(ctx, entry, l, o) })
}

// staged is a layout that goes away when it is closed.
type staged struct{ *layout }

func (s staged) Close() error { return os.RemoveAll(s.ref.Path) }

// stage has an image written to a temporary layout.
func stage(ctx context.Context, o Options, fill func(*layoutWriter) error) (source, error) {
	dir, err := os.MkdirTemp(o.TempDir, "holdfast-image-*")
	if err != nil {
		return nil, err
	}
	w, err := createLayout(ctx, LayoutRef(dir, ""))
	if err == nil {
		err = errors.Join(fill(w), w.Close())
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	l, err := openLayout(LayoutRef(dir, ""))
	return staged{l}, err
}

func (a *archive) convert(ctx context.Context, entry archiveImage, l *layoutWriter, o Options) error {
	raw, err := a.read(entry.Config)
	if err != nil {
		return err
	}
	var config ocispec.Image
	if err := input.JSON(raw, &config); err != nil {
		return fmt.Errorf("%s: %w", entry.Config, err)
	}
	if n := len(config.RootFS.DiffIDs); n != len(entry.Layers) {
		return fmt.Errorf("manifest.json lists %d layers and the config %d", len(entry.Layers), n)
	}
	m := ocispec.Manifest{Layers: make([]ocispec.Descriptor, len(entry.Layers))}
	if m.Config, err = l.add(ctx, ocispec.MediaTypeImageConfig, bytesReader(raw)); err != nil {
		return err
	}
	if err := a.convertLayers(ctx, entry, config, m.Layers, l, o); err != nil {
		return err
	}
	_, _, err = l.finish(ctx, m)
	return err
}

func (a *archive) convertLayers(ctx context.Context, entry archiveImage, config ocispec.Image,
	to []ocispec.Descriptor, l *layoutWriter, o Options,
) error {
	step := o.Progress.Start("unpack archive", 0, progress.Bytes)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Jobs)
	for i, name := range entry.Layers {
		g.Go(func() error {
			desc, err := a.convertLayer(ctx, name, string(config.RootFS.DiffIDs[i]), l, step)
			if err != nil {
				return fmt.Errorf("layer %.120s: %w", name, err)
			}
			to[i] = desc
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		step.Fail()
		return err
	}
	step.Done("")
	return nil
}

// convertLayer packs one layer with zstd and holds its content to the digest
// in the config.
func (a *archive) convertLayer(ctx context.Context, name, diffID string, l *layoutWriter, step progress.Step) (ocispec.Descriptor, error) {
	section, err := a.open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	plain, err := decompress(progress.Reader(section, step))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer plain.Close()
	h := sha256.New()
	packed := pack(io.TeeReader(plain, h))
	defer packed.Close()
	desc, err := l.add(ctx, ocispec.MediaTypeImageLayerZstd, packed)
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); err == nil && got != diffID {
		err = fmt.Errorf("%w: config says %.80s, got %s", ErrDigest, diffID, got)
	}
	return desc, err
}

// pack compresses with zstd, always to the same bytes: one goroutine, and a
// window that every reader must have room for (RFC 8878, 3.1.1.1.2). Why zstd:
// a guest hashes and decrypts what is left, so fewer bytes win, and unpacking
// gzip would cost more than they save.
func pack(r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		in.CloseWithError(compress(in, r))
	}()
	return out
}

func compress(w io.Writer, r io.Reader) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return err
	}
	_, err = io.Copy(z, r)
	return errors.Join(err, z.Close())
}
