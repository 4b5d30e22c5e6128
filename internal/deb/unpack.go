package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// The bounds on one package: far above the largest in Debian's archive
// (1.5 GB, 200 thousand files), far below what fills a disk.
const (
	maxEntries  = 2_000_000
	maxUnpacked = 32 << 30
	maxControl  = 16 << 20
)

// Unpack gives fn each file of the .deb r, in the archive's order. Names are
// relative and clean ("usr/bin/x"), and so are hard links' targets; the entry
// of the root itself is left out. Symbolic links' targets are data, as written.
// Extended attributes are in the header's PAXRecords.
//
// It reads r to its end, so that a reader which verifies can have its say;
// what fn was given before an error must not be used.
func Unpack(r io.Reader, fn func(*tar.Header, io.Reader) error) error {
	return Read(r, func(Paragraph) error { return nil }, fn)
}

// Read is Unpack that gives control the package's control paragraph first.
func Read(r io.Reader, control func(Paragraph) error, fn func(*tar.Header, io.Reader) error) error {
	p, data, err := parts(r)
	if err != nil {
		return err
	}
	defer data.Close()
	if err := control(p); err != nil {
		return err
	}
	if err := eachFile(io.LimitReader(data, maxUnpacked), fn); err != nil {
		return fmt.Errorf("data.tar: %w", err)
	}
	return errors.Join(data.Close(), drain(r))
}

// drain reads r to its end, where what verifies has its say.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// parts gives the control paragraph and then the tar of the files.
func parts(r io.Reader) (Paragraph, io.ReadCloser, error) {
	a, err := open(r)
	if err != nil {
		return "", nil, err
	}
	p, err := a.control()
	if err != nil {
		return "", nil, err
	}
	data, err := a.tar("data.tar")
	return p, data, err
}

// ReadControl gives the control paragraph of the .deb r.
func ReadControl(r io.Reader) (Paragraph, error) {
	a, err := open(r)
	if err != nil {
		return "", err
	}
	return a.control()
}

// control reads the member of that name, which comes before the files.
func (a *arReader) control() (Paragraph, error) {
	data, err := a.tar("control.tar")
	if err != nil {
		return "", err
	}
	defer data.Close()
	var control Paragraph
	err = eachFile(io.LimitReader(data, maxControl), func(h *tar.Header, r io.Reader) error {
		if h.Name != "control" {
			return nil
		}
		b, err := io.ReadAll(r)
		control = Paragraph(bytes.TrimLeft(b, "\n"))
		return err
	})
	if err == nil && control.Get("Package") == "" {
		err = errors.New("no control file that names the package")
	}
	if err != nil {
		return "", fmt.Errorf("control.tar: %w", err)
	}
	return control, nil
}

// open reads the version that begins every .deb (deb(5)).
func open(r io.Reader) (*arReader, error) {
	a, err := newArReader(r)
	if err != nil {
		return nil, err
	}
	first, err := a.next()
	if err != nil && err != io.EOF {
		return nil, err
	}
	if first != "debian-binary" {
		return nil, fmt.Errorf("%w: it does not begin with debian-binary", errNotDeb)
	}
	version, err := io.ReadAll(io.LimitReader(a.body, 64))
	if err != nil || !strings.HasPrefix(string(version), "2.") {
		return nil, fmt.Errorf("%w of version 2: debian-binary says %q", errNotDeb, version)
	}
	return a, nil
}

// tar finds the next member of that name, compressed or not.
func (a *arReader) tar(name string) (io.ReadCloser, error) {
	for {
		member, err := a.next()
		if err == io.EOF {
			return nil, fmt.Errorf("%w: no %s in it", errNotDeb, name)
		}
		if err != nil {
			return nil, err
		}
		if suffix, ok := strings.CutPrefix(member, name); ok {
			return decompress(suffix, a.body)
		}
	}
}

// eachFile walks a tar and the zeros behind it.
func eachFile(r io.Reader, fn func(*tar.Header, io.Reader) error) error {
	t := tar.NewReader(r)
	for range maxEntries {
		h, err := t.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return cut(err)
		}
		if err := cleanNames(h); err != nil {
			return err
		}
		if h.Name == "." {
			continue
		}
		if err := fn(h, t); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d files", maxEntries)
}

func cleanNames(h *tar.Header) (err error) {
	if h.Name, err = cleanName(h.Name); err == nil && h.Typeflag == tar.TypeLink {
		h.Linkname, err = cleanName(h.Linkname)
	}
	return err
}

// cleanName makes "./usr/bin/" into "usr/bin". A name that could climb out
// is refused, not mended: no honest package has one.
func cleanName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." || strings.Contains(part, "\x00") {
			return "", fmt.Errorf("file name %.200q leaves the tree", name)
		}
	}
	if path.IsAbs(name) || name == "" {
		return "", fmt.Errorf("file name %.200q: want one relative to the root", name)
	}
	return path.Clean(name), nil
}
