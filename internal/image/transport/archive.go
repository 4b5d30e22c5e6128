package transport

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"holdfast/internal/input"
)

const (
	maxEntries  = 1 << 17
	maxDocument = 4 << 20
)

// An archive is a tar file that "docker save" wrote, with the place of each
// of its files. Names are only looked up here, never made on disk.
type archive struct {
	file  *os.File
	files map[string]section
	links map[string]string // symbolic and hard, to cleaned names
}

type section struct{ offset, size int64 }

// archiveImage is an entry of manifest.json.
// https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
type archiveImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// indexArchive notes where each file begins, so that they can be read in any
// order and at once.
func indexArchive(ctx context.Context, f *os.File) (*archive, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	a := &archive{f, map[string]section{}, map[string]string{}}
	r := tar.NewReader(f)
	for n := 0; ; n++ {
		header, err := r.Next()
		if err == io.EOF {
			return a, ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("not a tar archive, or damaged: %w", input.Cut(err))
		}
		if n == maxEntries || ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), fmt.Errorf("gave up after %d files", n))
		}
		if err := a.note(header); err != nil {
			return nil, err
		}
	}
}

func (a *archive) note(h *tar.Header) error {
	name := path.Clean(h.Name)
	switch h.Typeflag {
	case tar.TypeReg:
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		a.files[name] = section{offset, h.Size}
	case tar.TypeSymlink:
		a.links[name] = path.Join(path.Dir(name), h.Linkname)
	case tar.TypeLink:
		a.links[name] = path.Clean(h.Linkname)
	}
	return nil
}

// open finds a file by the name that the archive's own documents use.
func (a *archive) open(name string) (*io.SectionReader, error) {
	at := path.Clean(name)
	for range 8 {
		if s, ok := a.files[at]; ok {
			return io.NewSectionReader(a.file, s.offset, s.size), nil
		}
		if at = a.links[at]; at == "" {
			break
		}
	}
	return nil, fmt.Errorf("archive has no file %.120q", name)
}

func (a *archive) read(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	raw, err := readLimited(r, maxDocument)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}

// pick reads manifest.json and takes the image of that name.
func (a *archive) pick(name string) (archiveImage, error) {
	raw, err := a.read("manifest.json")
	if err != nil {
		return archiveImage{}, fmt.Errorf(`not an archive of "docker save": %w`, err)
	}
	return parseArchiveManifest(raw, name)
}

func parseArchiveManifest(raw []byte, name string) (archiveImage, error) {
	var images []archiveImage
	if err := input.JSON(raw, &images); err != nil {
		return archiveImage{}, fmt.Errorf("manifest.json: %w", err)
	}
	var tags []string
	for _, image := range images {
		tags = append(tags, image.RepoTags...)
		if name != "" && slices.Contains(image.RepoTags, name) || name == "" && len(images) == 1 {
			return image, image.check()
		}
	}
	if name == "" && len(images) > 1 {
		return archiveImage{}, fmt.Errorf("archive holds several images; name one: %s", strings.Join(tags, ", "))
	}
	return archiveImage{}, fmt.Errorf("%w: the archive has %s", ErrNotFound, strings.Join(tags, ", "))
}

func (i archiveImage) check() error {
	if i.Config == "" || len(i.Layers) == 0 {
		return errors.New("manifest.json: an image without config or layers")
	}
	return nil
}

// spool gives a file that can be read at any place: the archive itself, or a
// temporary copy when it is standard input or compressed as a whole.
func spool(ctx context.Context, ref Ref, o Options) (*os.File, error) {
	in := o.Stdin
	if ref.Path != "-" {
		f, err := input.OpenStream(ref.Path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		if err != nil {
			return nil, err
		}
		if info, err := f.Stat(); err != nil || info.Mode().IsRegular() && !isCompressed(f) {
			return f, err
		}
		defer f.Close()
		in = f
	}
	if in == nil {
		return nil, errors.New("there is no standard input")
	}
	plain, err := decompress(in)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return toTemp(ctx, plain, o.TempDir)
}

func toTemp(ctx context.Context, r io.Reader, dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "holdfast-archive-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // it lives as long as it is open
	if _, err := io.Copy(f, &interruptible{ctx, r}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func isCompressed(f io.ReaderAt) bool {
	head := make([]byte, 4)
	_, _ = f.ReadAt(head, 0)
	return hasMagic(head)
}

func hasMagic(head []byte) bool {
	return strings.HasPrefix(string(head), string(gzipMagic)) || strings.HasPrefix(string(head), string(zstdMagic))
}

// decompress undoes gzip or zstd, whichever the first bytes show.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, _ := b.Peek(4)
	switch {
	case strings.HasPrefix(string(head), string(gzipMagic)):
		return gzip.NewReader(b)
	case strings.HasPrefix(string(head), string(zstdMagic)):
		d, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}
