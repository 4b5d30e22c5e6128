package wiring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/internal/deb"
	"holdfast/internal/image"
	"holdfast/internal/image/diff"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/transport"
	"holdfast/internal/oci"
	"holdfast/internal/rebuilt"
	"holdfast/internal/sign"
)

// A Rebuild is an image compared with what its provenance gives when it is
// built again.
type Rebuild struct {
	Image       string       `json:"image"`
	Format      string       `json:"format"` // oci or machine
	Equal       bool         `json:"equal"`
	Parts       []Rebuilt    `json:"parts"`
	SignedBy    string       `json:"signed_by,omitempty"`   // the provenance; empty when nobody did
	Certified   bool         `json:"certified"`             // by this installation's root
	Encrypted   bool         `json:"encrypted"`             // then layers are compared by what they hold
	Composer    []string     `json:"composer,omitempty"`    // in what the program that built it was another than this
	Kept        string       `json:"kept,omitempty"`        // where the image that was built lies
	Differences *diff.Report `json:"differences,omitempty"` // when the two are not equal
	Statement   string       `json:"statement,omitempty"`   // file that tells others

	same rebuilt.Rebuild // to be said of it when it is equal
}

// A Rebuilt part of an image.
type Rebuilt struct {
	Name  string `json:"name"`
	Have  string `json:"have"`
	Built string `json:"built"`
}

func (r *Rebuild) compare(name, have, built string) {
	r.Parts = append(r.Parts, Rebuilt{name, have, built})
	r.Equal = r.Equal && have == built
}

// An UnavailableError says that an image cannot be built again, because the
// mirror has dropped what it was made of. Nothing is known of it then.
type UnavailableError struct{ Cause error }

func (e *UnavailableError) Error() string { return e.Cause.Error() }
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Rebuild builds an image again from its provenance alone, and compares.
// Nothing that the provenance says is believed: it only tells what to build.
// The result is kept in the folder keep, unless that is empty.
func (b Builder) Rebuild(ctx context.Context, name, keep string, o transport.Options) (*Rebuild, error) {
	b.Afresh = true // who checks takes nobody's word, not even an earlier build's
	s, err := findSubject(ctx, name, o)
	if err != nil {
		return nil, err
	}
	stated, p, err := b.choose(ctx, s)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(o.TempDir, "holdfast-rebuild-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	l, err := s.sources(p, filepath.Join(tmp, "sources"))
	if err != nil {
		return nil, err
	}
	r := &Rebuild{Image: name, Format: p.BuildDefinition.External.Format, Equal: true,
		SignedBy: stated.SignedBy, Certified: stated.Certified, Kept: keep, Composer: p.RunDetails.Builder.Other()}
	r.same = rebuilt.Rebuild{Format: r.Format, Inputs: inputsOf(p, l), Version: provenance.Composer()}
	out := or(keep, filepath.Join(tmp, "image"))
	if r.Format == "machine" {
		err = b.againMachine(ctx, s, l, out, r)
	} else {
		err = b.againOCI(ctx, s, l, out, o, r)
	}
	var stale *deb.StaleError
	if errors.As(err, &stale) {
		err = &UnavailableError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("build %s again: %w", name, err)
	}
	return r, b.explain(ctx, s, out, o, r)
}

// choose takes the provenance that this installation's root vouches for
// before another's.
func (b Builder) choose(ctx context.Context, s *subject) (*Stated, *provenance.Provenance, error) {
	list, err := b.Installation.stated(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	var best *Stated
	for i, one := range list {
		if one.Type == provenance.PredicateType && (best == nil || one.Certified && !best.Certified) {
			best = &list[i]
		}
	}
	if best == nil {
		return nil, nil, fmt.Errorf("%s has no provenance: %w", s.name, ErrNothingStated)
	}
	p, err := provenance.Parse(best.Statement)
	if err == nil && (s.machine != nil) != (p.BuildDefinition.External.Format == "machine") {
		err = fmt.Errorf("it is of an image of format %s", p.BuildDefinition.External.Format)
	}
	if err != nil {
		return nil, nil, s.wrong("%v", err)
	}
	return best, p, nil
}

// sources writes what the provenance carries to dir and reads it: recipe and
// lock have to belong together, and to the dependencies that it lists.
func (s *subject) sources(p *provenance.Provenance, dir string) (LockedRecipe, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return LockedRecipe{}, err
	}
	x := p.BuildDefinition.External
	if err := x.Unpack(dir); err != nil {
		return LockedRecipe{}, s.wrong("%v", err)
	}
	l, err := readSources(x, dir)
	if err != nil {
		return l, s.wrong("its provenance: %v", err)
	}
	if reason := p.Contradiction(l.Lock); reason != "" {
		return l, s.wrong("%s", reason)
	}
	return l, nil
}

func readSources(x provenance.Parameters, dir string) (l LockedRecipe, err error) {
	if !filepath.IsLocal(x.Recipe) || !filepath.IsLocal(x.Lock) {
		return l, errors.New("recipe and lock are not among its files")
	}
	r, err := recipe.Load(filepath.Join(dir, x.Recipe))
	if err != nil {
		return l, err
	}
	if l, err = readLock(r, filepath.Join(dir, x.Lock)); err != nil {
		return l, err
	}
	return l, l.Lock.Matches(l.Recipe)
}

func (b Builder) againOCI(ctx context.Context, s *subject, l LockedRecipe, out string, o transport.Options, r *Rebuild) error {
	if err := transport.Verify(ctx, s.ref, o); err != nil {
		return err
	}
	b.Unsigned = true
	made, err := b.OCI(ctx, l, out)
	if err != nil {
		return err
	}
	have := s.container
	r.Encrypted = have.Encrypted
	r.compare("config", string(have.ConfigSum), string(made.Config))
	r.same.Subjects = []sign.Subject{provenance.Subject("config", made.Config)}
	if r.Encrypted {
		return nil // whose digests of layers speak of what they hold
	}
	r.same.Subjects = append(r.same.Subjects, provenance.Subject(l.Recipe.Name, made.Digest))
	r.compare("manifest", string(have.Digest), string(made.Digest))
	for i := range max(len(have.Layers), len(made.Layers)) {
		var a, b oci.Digest
		name := fmt.Sprintf("layer %d", i+1)
		if i < len(have.Layers) {
			a = have.Layers[i].Digest
		}
		if i < len(made.Layers) {
			b, name = made.Layers[i].Digest, "layer "+made.Layers[i].Name
		}
		r.compare(name, string(a), string(b))
	}
	return nil
}

// againMachine needs no keys: the signature on the kernel image is all that
// comes from them, and it is taken over when it is one of what was built.
func (b Builder) againMachine(ctx context.Context, s *subject, l LockedRecipe, out string, r *Rebuild) error {
	opts, err := b.options(ctx, l, out)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(s.machine.UKIPath())
	if err != nil {
		return err
	}
	made, err := image.BuildMachine(ctx, image.MachineOptions{Options: opts, Like: signed})
	if err != nil {
		return err
	}
	disk, err := fileDigest(s.machine.DiskPath())
	if err != nil {
		return err
	}
	r.same.Subjects, r.same.RootHash = made.Subjects(), made.RootHash
	r.compare("root", string(s.machine.Root.Digest), string(made.Root.Digest))
	r.compare("root hash", s.machine.RootHash, made.RootHash)
	r.compare(filepath.Base(s.machine.UKIPath()), string(oci.SHA256(signed)), string(made.UKI.Digest))
	r.compare(filepath.Base(s.machine.DiskPath()), string(disk), string(made.Disk.Digest))
	return compareReference(s.machine, made, r)
}

// explain says by file, package and section how the two images differ.
func (b Builder) explain(ctx context.Context, s *subject, out string, o transport.Options, r *Rebuild) error {
	if r.Equal || r.Encrypted {
		return nil
	}
	built := out
	if s.machine == nil {
		built = "oci:" + out + ":latest"
	}
	report, err := diff.Images(ctx, s.name, built, diff.Options{Transport: o, Progress: b.Progress})
	if err != nil {
		return err
	}
	r.Differences = report
	return nil
}
