package provenance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/image/recipe"
	"holdfast/internal/oci"
)

// Sources are the local files of a build, by paths relative to one folder:
// that of the recipe, or of the Go module that holds it.
type Sources struct {
	Recipe, Lock string // paths among Files
	Files        []File
}

// A File as the build read it. One that is too large to be carried along has
// its digest alone.
type File struct {
	Path    string     `json:"path"` // with slashes, without ".."
	Digest  oci.Digest `json:"digest"`
	Content []byte     `json:"content,omitempty"`
}

const (
	maxFile  = 4 << 20
	maxFiles = 64 << 20 // all together; a statement is read whole
)

// Collect reads what the recipe refers to and the further files, all of which
// must be below base.
func Collect(base string, r *recipe.Recipe, l *recipe.Lock, further []string) (Sources, error) {
	s := Sources{}
	lock, err := l.Marshal()
	if err != nil {
		return s, err
	}
	dir, err := filepath.Abs(r.Dir())
	if err != nil {
		return s, err
	}
	paths := []string{filepath.Join(dir, r.Base())}
	for _, f := range r.Files {
		if f.Source != "" {
			paths = append(paths, filepath.Join(dir, f.Source))
		}
	}
	for _, path := range append(paths, further...) {
		if err := s.read(base, path); err != nil {
			return s, err
		}
	}
	s.Recipe = s.Files[0].Path
	s.Lock = filepath.ToSlash(filepath.Join(filepath.Dir(s.Recipe), "recipe.lock"))
	s.Files = slices.DeleteFunc(s.Files, func(f File) bool { return f.Path == s.Lock })
	s.Files = append(s.Files, File{s.Lock, oci.SHA256(lock), lock})
	slices.SortFunc(s.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	s.Files = slices.CompactFunc(s.Files, func(a, b File) bool { return a.Path == b.Path })
	return s, nil
}

func (s *Sources) read(base, path string) error {
	name, err := filepath.Rel(base, path)
	if err != nil || !filepath.IsLocal(name) {
		return fmt.Errorf("provenance: %s is not below %s", path, base)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f := File{Path: filepath.ToSlash(name), Digest: oci.SHA256(content)}
	if len(content) <= maxFile {
		f.Content = content
	}
	s.Files = append(s.Files, f)
	return nil
}

// Unpack writes the files of a build below dir, which is empty, and checks
// each against its digest.
func (p Parameters) Unpack(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	total := 0
	for _, f := range p.Files {
		if total += len(f.Content); total > maxFiles {
			return fmt.Errorf("provenance: its files have more than %d bytes", maxFiles)
		}
		if err := f.write(root); err != nil {
			return fmt.Errorf("provenance: file %.200q: %w", f.Path, err)
		}
	}
	return nil
}

func (f File) write(root *os.Root) error {
	path := filepath.FromSlash(f.Path)
	if !filepath.IsLocal(path) {
		return errors.New("want a path inside the sources")
	}
	if len(f.Content) == 0 && f.Digest != oci.SHA256(nil) {
		return fmt.Errorf("it was too large to be carried along (%s)", f.Digest)
	}
	if got := oci.SHA256(f.Content); got != f.Digest {
		return fmt.Errorf("its content is %s, not %s", got, f.Digest)
	}
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	w, err := root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("it is there twice")
	}
	if err != nil {
		return err
	}
	_, err = w.Write(f.Content)
	return errors.Join(err, w.Close())
}
