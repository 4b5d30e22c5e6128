package recipe

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"holdfast/internal/deb"
	"holdfast/internal/form"
	"holdfast/internal/input"
	"holdfast/internal/oci"
)

// A FormError says that a file does not have the form of a recipe.
type FormError struct{ Reason error }

func (e *FormError) Error() string { return e.Reason.Error() }
func (e *FormError) Unwrap() error { return e.Reason }

// Load reads and validates the recipe at path, a file or the folder of a
// recipe.yaml, and fills in what it leaves to the defaults.
func Load(path string) (*Recipe, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "recipe.yaml")
	}
	b, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, fmt.Errorf("recipe: %w", err)
	}
	r := &Recipe{path: path}
	if err := decode(b, r); err != nil {
		return nil, &FormError{fmt.Errorf("%s%w", path, err)}
	}
	r.own = r.Architecture
	r.setDefaults()
	if err := r.validate(); err != nil {
		return nil, &FormError{fmt.Errorf("%s: %w", path, err)}
	}
	return r, nil
}

// Dir is the folder of the recipe, which Source files are relative to.
func (r *Recipe) Dir() string { return filepath.Dir(r.path) }

// Base is the recipe's file name in Dir.
func (r *Recipe) Base() string { return filepath.Base(r.path) }

// LockPath is where the recipe's lock belongs: recipe.lock beside it, and
// recipe.ARCHITECTURE.lock for another architecture than its own.
func (r *Recipe) LockPath() string {
	if r.Architecture != r.own {
		return filepath.Join(r.Dir(), "recipe."+r.Architecture+".lock")
	}
	return filepath.Join(r.Dir(), "recipe.lock")
}

// For is the recipe for another architecture; "" is its own.
func (r *Recipe) For(architecture string) (*Recipe, error) {
	other := *r
	other.Architecture = cmp.Or(architecture, r.own)
	return &other, other.validate()
}

// inName stands for the architecture in the names of packages, of which
// kernels have it.
const inName = "{architecture}"

func (r *Recipe) name(pkg string) string { return strings.ReplaceAll(pkg, inName, r.Architecture) }

func (r *Recipe) names(packages []string) []string {
	list := make([]string, len(packages))
	for i, p := range packages {
		list[i] = r.name(p)
	}
	return list
}

// Digest names the recipe and the source files it refers to: it is what
// "sha256sum recipe.yaml SOURCE… | sha256sum" prints in the recipe's folder.
func (r *Recipe) Digest() (oci.Digest, error) {
	names := []string{filepath.Base(r.path)}
	for _, f := range r.Files {
		if f.Source != "" {
			names = append(names, f.Source)
		}
	}
	var list bytes.Buffer
	for _, name := range names {
		sum, err := sumFile(filepath.Join(r.Dir(), name))
		if err != nil {
			return "", fmt.Errorf("%s: %w", r.path, err)
		}
		fmt.Fprintf(&list, "%s  %s\n", sum, name)
	}
	return oci.SHA256(list.Bytes()), nil
}

func sumFile(path string) (string, error) {
	f, err := input.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// decode reads one strict YAML document. Its errors begin with ":LINE: " or
// ": ", to follow a file's name.
func decode(b []byte, into any) error {
	return form.Decode(b, into, Recipe{}, User{}, Group{}, Directory{}, File{}, Link{}, Program{}, OCI{}, Machine{},
		Init{}, Lock{}, Index{}, deb.Pin{})
}

func (r *Recipe) setDefaults() {
	for i := range r.Users {
		u := &r.Users[i]
		u.Home, u.Shell = cmp.Or(u.Home, "/nonexistent"), cmp.Or(u.Shell, "/usr/sbin/nologin")
	}
	for i := range r.Directories {
		d := &r.Directories[i]
		d.Mode, d.Owner, d.Group = cmp.Or(d.Mode, 0o755), cmp.Or(d.Owner, "root"), cmp.Or(d.Group, "root")
	}
	for i := range r.Files {
		f := &r.Files[i]
		f.Mode, f.Owner, f.Group = cmp.Or(f.Mode, 0o644), cmp.Or(f.Owner, "root"), cmp.Or(f.Group, "root")
	}
}

// UnmarshalYAML reads octal digits, whatever YAML would make of them.
func (m *Mode) UnmarshalYAML(n *yaml.Node) error {
	text := strings.TrimPrefix(n.Value, "0o")
	bits, err := strconv.ParseUint(text, 8, 32)
	if n.Kind != yaml.ScalarNode || err != nil || bits == 0 || bits > 0o7777 {
		return form.At(n.Line, "mode %q: want octal digits such as 0755", n.Value)
	}
	*m = Mode(bits)
	return nil
}

// MarshalYAML writes the mode as chmod takes it.
func (m Mode) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprintf("0%o", uint32(m))}, nil
}
