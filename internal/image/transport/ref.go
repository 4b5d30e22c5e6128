package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"holdfast/internal/oci"
)

// A Kind is one of the places where images live.
type Kind string

// The kinds of place.
const (
	Layout   Kind = "oci"            // a folder in the OCI image layout
	Archive  Kind = "docker-archive" // a file that "docker save" wrote
	Registry Kind = "registry"       // a registry that speaks the OCI distribution API
)

// A Ref names an image in a place.
type Ref struct {
	Kind   Kind
	Path   string         // of a layout or archive; "-" is standard input
	Name   string         // in a layout or archive; empty when it holds one image
	Digest oci.Digest     // in a layout; may be empty
	Remote name.Reference // in a registry
}

// String is the reference as Parse would read it again.
func (r Ref) String() string {
	switch {
	case r.Kind == Registry:
		return r.Remote.String()
	case r.Digest != "":
		return string(r.Kind) + ":" + r.Path + "@" + string(r.Digest)
	case r.Name != "":
		return string(r.Kind) + ":" + r.Path + ":" + r.Name
	}
	return string(r.Kind) + ":" + r.Path
}

// LayoutRef names an image in the layout at dir; name may be empty.
func LayoutRef(dir, name string) Ref { return Ref{Kind: Layout, Path: dir, Name: name} }

var (
	// repositoryForm is the distribution spec's grammar of names; it admits
	// neither "." nor ".." as a part.
	repositoryForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	// tagForm is the distribution spec's too.
	tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	// nameForm is that of org.opencontainers.image.ref.name.
	nameForm = regexp.MustCompile(`^[A-Za-z0-9]+([-._:@+/]+[A-Za-z0-9]+)*$`)
)

// Parse reads a reference as people type it:
//
//	oci:DIR[:NAME], oci:DIR@DIGEST, or a folder's path   OCI layout
//	docker-archive:FILE[:NAME], a FILE.tar, or -         "docker save"
//	[HOST[:PORT]/]NAME[:TAG|@DIGEST]                     registry, Docker Hub without HOST
//
// A bare word is an OCI layout when there is one of that name, an archive when
// it ends in .tar, and a name at Docker Hub otherwise, unless a folder that is
// no image has it: Docker Hub is not what was meant.
func Parse(s string) (Ref, error) {
	ref, err := parseWord(s)
	if err == nil && ref.Kind == Registry && !namesHost(s) {
		if info, stat := os.Stat(s); stat == nil && info.IsDir() {
			return Ref{}, fmt.Errorf("image %.80q: is a folder, but no OCI layout; want docker://%s for the image of that name at Docker Hub", s, s)
		}
	}
	return ref, err
}

func parseWord(s string) (Ref, error) {
	if len(s) > 4096 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Ref{}, fmt.Errorf("image %.80q: spaces, control characters or too long", s)
	}
	ref, err := parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("image %.80q: %w", s, err)
	}
	return ref, nil
}

func parse(s string) (Ref, error) {
	scheme, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "":
		return Ref{}, errors.New("empty")
	case s == "-":
		return Ref{Kind: Archive, Path: "-"}, nil
	case scheme == "http" || scheme == "https":
		return Ref{}, errors.New("a reference has no http:// or https://; want HOST[:PORT]/NAME[:TAG]")
	case scheme == string(Layout):
		return parsePath(Layout, rest)
	case scheme == string(Archive):
		return parsePath(Archive, rest)
	case strings.HasPrefix(s, "docker://"):
		return parseRemote(strings.TrimPrefix(s, "docker://"))
	case isPath(s):
		return parsePath(kindOfPath(s), s)
	}
	if kindOnDisk(s) == Layout {
		return parsePath(Layout, s)
	}
	if file, _, _ := strings.Cut(s, ":"); strings.HasSuffix(file, ".tar") && (kindOnDisk(s) == Archive || !namesHost(s)) {
		return parsePath(Archive, s)
	}
	return parseRemote(s)
}

// namesHost says whether s begins with a registry's host, and so is no name at
// Docker Hub.
func namesHost(s string) bool {
	host, _, ok := strings.Cut(s, "/")
	return ok && (strings.ContainsAny(host, ".:") || host == "localhost")
}

func isPath(s string) bool {
	return s == "." || s == ".." || strings.HasPrefix(s, "/") || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../")
}

func kindOfPath(s string) Kind {
	if kind := kindOnDisk(s); kind != "" {
		return kind
	}
	if strings.HasSuffix(s, ".tar") {
		return Archive
	}
	return Layout
}

// kindOnDisk says what could be an image at s, or nothing.
func kindOnDisk(s string) Kind {
	path, _, _ := strings.Cut(s, ":")
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if info.Mode().IsRegular() {
		return Archive
	}
	if _, err := os.Stat(filepath.Join(path, "oci-layout")); err == nil {
		return Layout
	}
	return ""
}

func parsePath(kind Kind, s string) (Ref, error) {
	ref := Ref{Kind: kind}
	s, digest, hasDigest := strings.Cut(s, "@")
	path, name, hasName := strings.Cut(s, ":")
	ref.Path, ref.Name = path, name
	if path == "" {
		return Ref{}, fmt.Errorf("no path after the word %s", kind)
	}
	if hasName && !nameForm.MatchString(name) {
		return Ref{}, fmt.Errorf("name %q: want letters and digits, with - . _ : + / between", name)
	}
	if !hasDigest {
		return ref, nil
	}
	if kind != Layout || hasName {
		return Ref{}, errors.New("a digest may only follow a layout's path")
	}
	var err error
	ref.Digest, err = oci.ParseDigest(digest)
	return ref, err
}

func parseRemote(s string) (Ref, error) {
	remote, err := name.ParseReference(s)
	if err != nil {
		return Ref{}, errors.New("want HOST[:PORT]/NAME[:TAG|@DIGEST] in lower case, oci:DIR[:NAME], docker-archive:FILE, or -")
	}
	if !repositoryForm.MatchString(remote.Context().RepositoryStr()) {
		return Ref{}, fmt.Errorf("repository %q: want lower-case letters and digits, with . _ - / between", remote.Context().RepositoryStr())
	}
	if tag, ok := remote.(name.Tag); ok && !tagForm.MatchString(tag.TagStr()) {
		return Ref{}, fmt.Errorf("tag %.40q: want letters, digits, and then _ . - too", tag.TagStr())
	}
	return Ref{Kind: Registry, Remote: remote}, nil
}

// ParseTarget reads a reference to write to: a layout or a registry. A bare
// word is refused unless a layout has that name, lest a typing error push to
// Docker Hub.
func ParseTarget(s string) (Ref, error) {
	ref, err := parseWord(s)
	if err != nil {
		return Ref{}, err
	}
	if err := ref.checkTarget(s); err != nil {
		return Ref{}, fmt.Errorf("image %.80q: %w", s, err)
	}
	return ref, nil
}

func (r Ref) checkTarget(s string) error {
	switch {
	case r.Kind == Archive:
		return errors.New("archives can be read, not written; want oci:DIR[:NAME] or HOST[:PORT]/NAME[:TAG]")
	case r.Digest != "":
		return errors.New("a destination cannot be a digest")
	case r.Kind == Layout:
		return notAFile(r.Path)
	}
	if _, ok := r.Remote.(name.Digest); ok {
		return errors.New("a destination cannot be a digest")
	}
	if !strings.HasPrefix(s, "docker://") && !namesHost(s) {
		return fmt.Errorf("a folder or a registry? Want ./%s, HOST[:PORT]/%s, or docker.io/…", s, s)
	}
	return nil
}

func notAFile(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		return errors.New("is a file; want a folder")
	}
	return err
}
