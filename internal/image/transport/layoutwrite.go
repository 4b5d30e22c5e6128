package transport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/atomicfile"
	store "holdfast/internal/blob"
	"holdfast/internal/oci"
)

const (
	lockFile    = ".lock"
	partsFolder = ".parts"
)

// layoutWriter fills an OCI layout. It holds the layout's lock, so writers
// take turns and what an interrupted one left may be swept.
type layoutWriter struct {
	ref      Ref
	parts    string // folder of blobs that are received in part
	unlock   func() error
	attached []ocispec.Descriptor // to be listed beside the image
}

func createLayout(ctx context.Context, ref Ref) (*layoutWriter, error) {
	if err := refuseForeign(ref.Path); err != nil {
		return nil, err
	}
	blobs := filepath.Join(ref.Path, ocispec.ImageBlobsDir, "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, err
	}
	unlock, err := atomicfile.Lock(ctx, filepath.Join(ref.Path, lockFile))
	if err != nil {
		return nil, err
	}
	sweep(ref.Path)
	sweep(blobs)
	parts := filepath.Join(ref.Path, partsFolder)
	store.SweepParts(parts)
	return &layoutWriter{ref: ref, parts: parts, unlock: unlock}, nil
}

// refuseForeign keeps images out of folders that hold something else.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	foreign := false
	for _, entry := range entries {
		switch name := entry.Name(); {
		case name == ocispec.ImageLayoutFile:
			return nil
		case name != ocispec.ImageBlobsDir && name != lockFile && name != partsFolder && !strings.HasPrefix(name, ".tmp-"):
			foreign = true
		}
	}
	if foreign {
		return errors.New("folder is neither empty nor an OCI layout")
	}
	return nil
}

// sweep removes the temporary files of writers that were killed.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

func (l *layoutWriter) put(ctx context.Context, b blob) error {
	path, err := blobPath(l.ref.Path, b.Descriptor)
	if err != nil {
		return err
	}
	if l.has(b.Descriptor) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, far := b.from.source.(*remoteSource); far && b.Size >= minPart {
		return l.receive(ctx, b, path)
	}
	r, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	return atomicfile.Write(path, 0o644, func(w io.Writer) error {
		_, err := io.Copy(w, &interruptible{ctx, r})
		return err
	})
}

// has reads the blob through: a damaged one is written again.
func (l *layoutWriter) has(desc ocispec.Descriptor) bool {
	f, err := openBlob(l.ref.Path, desc)
	if err != nil {
		return false
	}
	r := verify(f, desc)
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err == nil
}

// add stores a blob whose digest is known only when it was read.
func (l *layoutWriter) add(ctx context.Context, mediaType string, r io.Reader) (ocispec.Descriptor, error) {
	blobs := filepath.Join(l.ref.Path, ocispec.ImageBlobsDir, "sha256")
	f, err := os.CreateTemp(blobs, ".tmp-*")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), &interruptible{ctx, r})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync()); err != nil {
		return ocispec.Descriptor{}, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest("sha256:" + sum), Size: n}
	return desc, os.Rename(f.Name(), filepath.Join(blobs, sum))
}

// finish stores a manifest of blobs that are there, and names it.
func (l *layoutWriter) finish(ctx context.Context, m ocispec.Manifest) (ocispec.Descriptor, []byte, error) {
	desc, raw, err := describeManifest(m)
	if err != nil {
		return desc, nil, err
	}
	return desc, raw, l.tag(ctx, desc, raw)
}

func describeManifest(m ocispec.Manifest) (ocispec.Descriptor, []byte, error) {
	m.Versioned = specs.Versioned{SchemaVersion: 2}
	m.MediaType = ocispec.MediaTypeImageManifest
	raw, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(oci.SHA256(raw)), Size: int64(len(raw))}
	return desc, raw, nil
}

func (l *layoutWriter) store(desc ocispec.Descriptor, raw []byte) error {
	path, err := blobPath(l.ref.Path, desc)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, raw, 0o644)
}

func (l *layoutWriter) tag(ctx context.Context, desc ocispec.Descriptor, raw []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.store(desc, raw); err != nil {
		return err
	}
	index, err := l.index(ctx, desc)
	if err != nil {
		return err
	}
	version := ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}
	if err := writeJSON(filepath.Join(l.ref.Path, ocispec.ImageLayoutFile), version); err != nil {
		return err
	}
	return writeJSON(filepath.Join(l.ref.Path, ocispec.ImageIndexFile), index)
}

// index is the layout's index with the new image in place of whatever had
// its name, and with what refers to it. An image without a name replaces the
// one without a name; what referred to one that is gone goes too.
func (l *layoutWriter) index(ctx context.Context, desc ocispec.Descriptor) (ocispec.Index, error) {
	index, err := readIndex(l.ref.Path)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return index, err
	}
	old := &layout{l.ref, index}
	index.Versioned = specs.Versioned{SchemaVersion: 2}
	index.MediaType = ocispec.MediaTypeImageIndex
	desc = ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Platform: desc.Platform}
	if l.ref.Name != "" {
		desc.Annotations = map[string]string{ocispec.AnnotationRefName: l.ref.Name}
	}
	there := map[digest.Digest]bool{desc.Digest: true}
	kept, replaced := []ocispec.Descriptor{}, map[digest.Digest]bool{}
	for _, d := range index.Manifests {
		if isImage(d) && d.Annotations[ocispec.AnnotationRefName] == l.ref.Name {
			replaced[d.Digest] = true
			continue
		}
		kept, there[d.Digest] = append(kept, d), true
	}
	kept = slices.DeleteFunc(kept, func(d ocispec.Descriptor) bool {
		subject := old.subjectOf(ctx, d)
		return replaced[subject] && !there[subject]
	})
	index.Manifests = append(kept, desc)
	for _, a := range l.attached {
		if !there[a.Digest] {
			index.Manifests = append(index.Manifests, a)
		}
	}
	return index, nil
}

func writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, raw, 0o644)
}

// Close lets the next writer in.
func (l *layoutWriter) Close() error { return l.unlock() }

// interruptible stops a local copy when the context ends.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, fmt.Errorf("interrupted: %w", err)
	}
	return i.Reader.Read(p)
}
