// Package diff tells what differs between two images: by section, by package
// and by file.
//
// Two images are equal when they are the same bytes, and then nothing else is
// said. Files are compared by hash as they stream past, so an image of any
// size takes the memory of its list of files.
package diff

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/progress"
)

// A Report says what differs between image A and image B. It is what
// "holdfast image diff --json" prints.
type Report struct {
	A        Side         `json:"a"`
	B        Side         `json:"b"`
	Equal    bool         `json:"equal"`
	Sections []Change     `json:"sections"`         // parts of the image, settings and reference values
	Packages []Change     `json:"packages"`         // versions
	Files    []FileChange `json:"files"`            // by path
	Opaque   []string     `json:"opaque,omitempty"` // parts that were compared by digest alone, and why
}

// A Side is one of the two images.
type Side struct {
	Reference string     `json:"reference"`
	Kind      Kind       `json:"kind"`
	Digest    oci.Digest `json:"digest"` // of the manifest, or of the disk
}

// A Kind of image.
type Kind string

// The kinds of image.
const (
	OCI     Kind = "oci"
	Machine Kind = "machine"
)

// A Change is a part that differs. A is empty when only B has it, B when only
// A has it. Bytes are told as "sha256:DIGEST (N bytes)".
type Change struct {
	Name string `json:"name"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}

// A FileChange is a path that differs. A is nil when only B has it, B when
// only A has it; What names the differences when both have it.
type FileChange struct {
	Path string   `json:"path"`
	A    *File    `json:"a,omitempty"`
	B    *File    `json:"b,omitempty"`
	What []string `json:"what,omitempty"` // of type, content, mode, owner, target, device, xattrs, mtime
}

// Options are how to read images.
type Options struct {
	Transport transport.Options // of OCI images; see there
	Progress  progress.Reporter // by default silent
}

// An Image can be compared. Open makes one.
type Image interface {
	Side() Side
	// read gives all that is compared of the image.
	read(ctx context.Context, o Options) (*content, error)
	io.Closer
}

// content is an image taken apart.
type content struct {
	sections []Change // Name and A
	files    map[string]*File
	packages map[string]string // name to version
	opaque   []string
}

func newContent() *content {
	return &content{files: map[string]*File{}, packages: map[string]string{}}
}

// part adds a section: what is A here becomes B of the second image.
func (c *content) part(name, value string) {
	c.sections = append(c.sections, Change{Name: name, A: value})
}

// Compare reads both images and reports the differences. Both must be of one
// kind.
func Compare(ctx context.Context, a, b Image, o Options) (*Report, error) {
	o.Progress = progress.Or(o.Progress)
	r := &Report{A: a.Side(), B: b.Side(), Sections: []Change{}, Packages: []Change{}, Files: []FileChange{}}
	if r.A.Kind != r.B.Kind {
		return nil, fmt.Errorf("%s is of kind %s and %s of kind %s: want two of one kind", r.A.Reference, r.A.Kind, r.B.Reference, r.B.Kind)
	}
	x, err := read(ctx, a, o)
	if err != nil {
		return nil, err
	}
	y, err := read(ctx, b, o)
	if err != nil {
		return nil, err
	}
	r.Sections = append(r.Sections, changed(x.sections, y.sections)...)
	r.Packages = append(r.Packages, changed(listed(x.packages), listed(y.packages))...)
	r.Files = append(r.Files, changedFiles(x.files, y.files)...)
	r.Opaque = union(x.opaque, y.opaque)
	r.Equal = r.A.Digest == r.B.Digest && len(r.Sections)+len(r.Packages)+len(r.Files) == 0
	return r, nil
}

func read(ctx context.Context, i Image, o Options) (*content, error) {
	c, err := i.read(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", i.Side().Reference, err)
	}
	return c, nil
}

// changed joins two lists by name, in the order of the first, and keeps what
// differs.
func changed(a, b []Change) []Change {
	other := map[string]string{}
	for _, s := range b {
		other[s.Name] = s.A
	}
	var list []Change
	for _, s := range a {
		if other[s.Name] != s.A {
			list = append(list, Change{s.Name, s.A, other[s.Name]})
		}
		delete(other, s.Name)
	}
	for _, s := range b {
		if value, ok := other[s.Name]; ok {
			list = append(list, Change{Name: s.Name, B: value})
		}
	}
	return list
}

func listed(m map[string]string) []Change {
	var list []Change
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, Change{Name: name, A: m[name]})
	}
	return list
}

func changedFiles(a, b map[string]*File) []FileChange {
	var list []FileChange
	for path, one := range a {
		if other := b[path]; other == nil {
			list = append(list, FileChange{Path: path, A: one})
		} else if what := one.differs(other); len(what) > 0 {
			list = append(list, FileChange{path, one, other, what})
		}
	}
	for path, other := range b {
		if a[path] == nil {
			list = append(list, FileChange{Path: path, B: other})
		}
	}
	slices.SortFunc(list, func(x, y FileChange) int { return cmp.Compare(x.Path, y.Path) })
	return list
}

func union(a, b []string) []string {
	list := slices.Concat(a, b)
	slices.Sort(list)
	return slices.Compact(list)
}
