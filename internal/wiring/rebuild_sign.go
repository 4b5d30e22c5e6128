package wiring

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cosign"
	"holdfast/internal/image"
	"holdfast/internal/image/provenance"
	"holdfast/internal/oci"
	"holdfast/internal/rebuilt"
)

// A RebuildSigner says that an image was built again, and is the same.
type RebuildSigner struct {
	Key   crypto.Signer
	File  string     // to write; in the machine image's folder, by the key's ID, when empty
	Until *time.Time // no longer good then; always when nil
}

// RebuildSigner reads the key in a PEM file before the work begins. Name is
// the image that will be built again.
func (i Installation) RebuildSigner(ctx context.Context, key, file, name string, until *time.Time) (*RebuildSigner, error) {
	s := &RebuildSigner{File: file, Until: until}
	var err error
	if s.Key, err = i.signingKey(ctx, key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	public, err := cosign.NewKey(s.Key.Public())
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if s.File == "" {
		s.File = rebuiltPrefix + public.ID()[:16] + ".json"
		if m, err := image.ReadMachine(name); err == nil {
			s.File = filepath.Join(m.Dir, s.File)
		}
	}
	return s, nil
}

// rebuiltPrefix begins the names of statements in a machine image's folder.
const rebuiltPrefix = "rebuilt-"

// RebuiltFiles are the statements in the folder of a machine image.
func RebuiltFiles(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, rebuiltPrefix+"*.json"))
}

// Sign writes the statement about what was built. Nothing is said of an image
// of which a byte differs.
func (s *RebuildSigner) Sign(r *Rebuild) error {
	if !r.Equal || len(r.Parts) == 0 {
		return errors.New("the image is not what its provenance gives: nothing is signed")
	}
	r.same.Until = s.Until
	raw, err := rebuilt.Sign(r.same, s.Key)
	if err != nil {
		return err
	}
	r.Statement = s.File
	return atomicfile.WriteFile(s.File, raw, 0o644)
}

// inputsOf are recipe and lock, which names all else by its digest, and the
// toolchain, which it names by its version.
func inputsOf(p *provenance.Provenance, l LockedRecipe) []rebuilt.Resource {
	x := p.BuildDefinition.External
	digests := map[string]oci.Digest{}
	for _, f := range x.Files {
		digests[f.Path] = f.Digest
	}
	list := []rebuilt.Resource{
		{Name: "recipe", Digest: map[string]string{"sha256": digests[x.Recipe].Hex()}},
		{Name: "lock", Digest: map[string]string{"sha256": digests[x.Lock].Hex()}},
	}
	if l.Lock.Go != "" {
		list = append(list, rebuilt.Resource{Name: "go", URI: "pkg:generic/go@" + strings.TrimPrefix(l.Lock.Go, "go")})
	}
	return list
}
