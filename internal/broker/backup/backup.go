// Package backup puts files into one, with what each has to be.
//
// A backup is a tar file whose first member, manifest.json, names every other
// with its size and SHA-256. Nothing of it is used before all of it was found
// to be so.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/input"
)

// Version is that of the format.
const Version = 1

const manifestName = "manifest.json"

// A Manifest is what a backup holds.
type Manifest struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Files   []File    `json:"files"`
}

// A File is one of them.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
	path   string
}

// maxFile bounds what a member may have.
const maxFile = 1 << 40

// Write makes a backup of files, by their names in it, in order of these. What is appended to them
// meanwhile is not in it.
func Write(w io.Writer, at time.Time, paths map[string]string) (Manifest, error) {
	m := Manifest{Version: Version, Time: at.UTC()}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		f, err := measure(name, paths[name])
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, f)
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, err
	}
	t := tar.NewWriter(w)
	if err := member(t, manifestName, int64(len(raw)), at, bytes.NewReader(raw)); err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := f.copy(t, at); err != nil {
			return m, err
		}
	}
	return m, t.Close()
}

func measure(name, path string) (File, error) {
	in, err := input.Open(path)
	if err != nil {
		return File{}, err
	}
	defer in.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, in)
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)), path: path}, err
}

func (f File) copy(t *tar.Writer, at time.Time) error {
	in, err := input.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	return member(t, f.Name, f.Size, at, io.LimitReader(in, f.Size))
}

func member(t *tar.Writer, name string, size int64, at time.Time, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: at.UTC().Truncate(time.Second)}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}

// Unpack checks a backup and puts its files into a folder, which stays as it
// was found to be: whoever calls removes it after an error.
func Unpack(r io.Reader, dir string) (Manifest, error) {
	t := tar.NewReader(r)
	m, err := readManifest(t)
	if err != nil {
		return m, err
	}
	for _, f := range m.Files {
		if err := f.unpack(t, dir); err != nil {
			return m, fmt.Errorf("%.200q: %w", f.Name, err)
		}
	}
	if _, err := t.Next(); !errors.Is(err, io.EOF) {
		return m, errors.Join(errors.New("it holds more than its manifest names"), input.Cut(err))
	}
	return m, nil
}

func readManifest(t *tar.Reader) (m Manifest, err error) {
	h, err := t.Next()
	if err != nil || h.Name != manifestName {
		return m, errors.New("it is not a backup of a broker")
	}
	raw, err := input.ReadAll(t, input.Document)
	if err != nil {
		return m, input.Cut(err)
	}
	if err := input.JSON(raw, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Version != Version {
		return m, fmt.Errorf("it has format %d, this program reads %d", m.Version, Version)
	}
	return m, nil
}

func (f File) unpack(t *tar.Reader, dir string) error {
	if !filepath.IsLocal(f.Name) || f.Size < 0 || f.Size > maxFile {
		return errors.New("the manifest names no file that could be in a backup")
	}
	h, err := t.Next()
	if err != nil {
		return input.Cut(err)
	}
	if h.Name != f.Name || h.Typeflag != tar.TypeReg || h.Size != f.Size {
		return errors.New("it is not what the manifest names here")
	}
	path := filepath.Join(dir, f.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("it is there twice")
	}
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), t)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(input.Cut(err), out.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("its SHA-256 is %s, the manifest says %.64s", got, f.SHA256)
	}
	return nil
}
