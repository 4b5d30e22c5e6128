package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// layout reads an OCI image layout.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type layout struct {
	ref   Ref
	index ocispec.Index
}

func openLayout(ref Ref) (*layout, error) {
	index, err := readIndex(ref.Path)
	if err != nil {
		return nil, err
	}
	return &layout{ref, index}, nil
}

func readIndex(dir string) (ocispec.Index, error) {
	var index ocispec.Index
	var version ocispec.ImageLayout
	err := readJSON(filepath.Join(dir, ocispec.ImageLayoutFile), &version)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return index, fmt.Errorf("%w: no folder %s", ErrNotFound, dir)
		}
		return index, fmt.Errorf("%w: folder has no %s file, so it is no OCI layout", ErrNotFound, ocispec.ImageLayoutFile)
	}
	if err != nil {
		return index, err
	}
	if !strings.HasPrefix(version.Version, "1.") {
		return index, fmt.Errorf("OCI layout version is %.20q, want 1", version.Version)
	}
	err = readJSON(filepath.Join(dir, ocispec.ImageIndexFile), &index)
	if errors.Is(err, fs.ErrNotExist) { // its writer was killed between the two
		return index, fmt.Errorf("%w: OCI layout has no %s, so no image is in it", ErrNotFound, ocispec.ImageIndexFile)
	}
	return index, err
}

func readJSON(path string, to any) error {
	raw, err := input.ReadFile(path, maxConfig)
	if err != nil {
		return err
	}
	if err := input.JSON(raw, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return raw, err
}

func (l *layout) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	desc, err := l.entry()
	if err != nil {
		return desc, nil, err
	}
	raw, err := l.manifest(ctx, desc)
	if err != nil {
		return desc, nil, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return desc, raw, check(desc, raw)
}

// entry finds what the reference names in index.json.
func (l *layout) entry() (ocispec.Descriptor, error) {
	var names []string
	var matches []ocispec.Descriptor
	for _, desc := range l.index.Manifests {
		if l.ref.Digest == "" && !isImage(desc) {
			continue
		}
		name := desc.Annotations[ocispec.AnnotationRefName]
		names = append(names, name)
		if l.ref.matches(desc, name) {
			matches = append(matches, desc)
		}
	}
	switch {
	case len(matches) > 0 && (len(matches) == 1 || l.ref.Name+string(l.ref.Digest) != ""):
		return matches[len(matches)-1], nil
	case len(matches) > 1:
		return ocispec.Descriptor{}, fmt.Errorf("the layout holds several images; name one: %s", strings.Join(names, ", "))
	case len(names) == 0:
		return ocispec.Descriptor{}, fmt.Errorf("%w: the layout is empty", ErrNotFound)
	}
	return ocispec.Descriptor{}, fmt.Errorf("%w: the layout has %s", ErrNotFound, strings.Join(names, ", "))
}

func (r Ref) matches(desc ocispec.Descriptor, name string) bool {
	if r.Digest != "" {
		return string(desc.Digest) == string(r.Digest)
	}
	return r.Name == "" || r.Name == name
}

func (l *layout) manifest(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	r, err := l.blob(ctx, desc, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readLimited(r, maxManifest)
}

func (l *layout) blob(_ context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := openBlob(l.ref.Path, desc)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openBlob opens regular files only: a named pipe would hang the reader.
func openBlob(dir string, desc ocispec.Descriptor) (*os.File, error) {
	path, err := blobPath(dir, desc)
	if err != nil {
		return nil, err
	}
	return input.Open(path)
}

// blobPath parses the digest, so that no path can be smuggled in with it.
func blobPath(dir string, desc ocispec.Descriptor) (string, error) {
	d, err := oci.ParseDigest(string(desc.Digest))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm(), d.Hex()), nil
}

func (*layout) Close() error { return nil }
