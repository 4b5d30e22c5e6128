// Package provenance states how an image was built, so that anybody can build
// it again and compare: an in-toto statement with SLSA's provenance predicate.
//
//	https://slsa.dev/spec/v1.0/provenance
//	https://github.com/in-toto/attestation/blob/v1.1.0/spec/v1/resource_descriptor.md
//
// It holds the recipe, the lock and every local file that the build read;
// packages and modules it names by digest. It holds no time, so the same build
// states the same thing.
package provenance

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	"holdfast/internal/image/recipe"
	"holdfast/internal/image/sbom"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

const (
	// PredicateType is SLSA's, for every 1.x.
	PredicateType = "https://slsa.dev/provenance/v1"
	// BuildType is what docs/formats/provenance.md describes.
	BuildType = "urn:holdfast:build:image:v1"
	// MediaType is in-toto's for such a statement in an envelope.
	MediaType = "application/vnd.in-toto.provenance+dsse"
)

// A Provenance is the predicate.
type Provenance struct {
	BuildDefinition Definition `json:"buildDefinition"`
	RunDetails      RunDetails `json:"runDetails"`
}

// A Definition is what went into a build.
type Definition struct {
	BuildType    string            `json:"buildType"`
	External     Parameters        `json:"externalParameters"`
	Internal     map[string]string `json:"internalParameters,omitempty"`
	Dependencies []Resource        `json:"resolvedDependencies"`
}

// Parameters are all that decides an image's bytes.
type Parameters struct {
	Format string `json:"format"` // oci or machine
	Recipe string `json:"recipe"` // its path among Files
	Lock   string `json:"lock"`   // its path among Files
	Files  []File `json:"files"`  // sorted by path
}

// RunDetails say who built.
type RunDetails struct {
	Builder    Builder    `json:"builder"`
	Byproducts []Resource `json:"byproducts,omitempty"`
}

// A Builder is the key that speaks for it, and the program that composed the
// image: by the versions of what decides the bytes.
type Builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// compressor packs layers, initramfs and root: another version makes other
// bytes of the same files.
const compressor = "github.com/klauspost/compress"

// Composer is the version of this program, as a Builder has it; nil when it
// does not know of what it was built.
func Composer() map[string]string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	version := map[string]string{"go": info.GoVersion, "holdfast": cmp.Or(info.Main.Version, "(devel)")}
	for _, m := range info.Deps {
		if m.Path == compressor {
			version[m.Path] = m.Version
		}
	}
	return version
}

// Other tells in words where the composer was another than this program. It is
// empty where it is not known.
func (b Builder) Other() (list []string) {
	this := Composer()
	for _, name := range slices.Sorted(maps.Keys(b.Version)) {
		if had := b.Version[name]; had != this[name] {
			list = append(list, fmt.Sprintf("%.80s %.80s, here %s", name, had, cmp.Or(this[name], "none")))
		}
	}
	return list
}

// A Resource is in-toto's ResourceDescriptor.
type Resource struct {
	Name      string            `json:"name,omitempty"`
	URI       string            `json:"uri,omitempty"`
	Digest    map[string]string `json:"digest,omitempty"`
	MediaType string            `json:"mediaType,omitempty"`
}

// Inputs are what New makes a statement of.
type Inputs struct {
	Format   string
	Lock     *recipe.Lock
	Sources  Sources
	Internal map[string]string
	Programs []sbom.Program
	SBOM     []byte
	Signers  []sign.Signer
	Subjects []sign.Subject
}

// New states the build, signed by each of the signers.
func New(in Inputs) (sign.Envelope, error) {
	p := Provenance{
		BuildDefinition: Definition{
			BuildType: BuildType, Internal: in.Internal, Dependencies: dependencies(in.Lock, in.Programs),
			External: Parameters{Format: in.Format, Recipe: in.Sources.Recipe, Lock: in.Sources.Lock, Files: in.Sources.Files},
		},
		RunDetails: RunDetails{
			Builder:    Builder{ID: builderID(in.Signers), Version: Composer()},
			Byproducts: []Resource{{Name: "sbom", Digest: digestSet(oci.SHA256(in.SBOM)), MediaType: sbom.MediaType}},
		},
	}
	statement, err := sign.NewStatement(PredicateType, p, in.Subjects...)
	if err != nil {
		return sign.Envelope{}, err
	}
	return sign.Seal(statement, in.Signers...)
}

// builderID is the first signer's key: whoever holds it answers for the build.
func builderID(signers []sign.Signer) string {
	if len(signers) == 0 {
		return "urn:holdfast:builder:unsigned"
	}
	return "urn:holdfast:builder:" + sign.KeyID(signers[0].Certificate)
}

// dependencies are packages, indexes, toolchain and modules, by digest.
func dependencies(l *recipe.Lock, programs []sbom.Program) []Resource {
	var list []Resource
	for _, p := range slices.Concat(l.Packages, l.Boot) {
		list = append(list, Resource{Name: p.Name, URI: sbom.DebianPURL(p), Digest: digestSet(p.Digest())})
	}
	for _, x := range l.Indexes {
		list = append(list, Resource{Name: x.Suite + "/" + x.Path, Digest: map[string]string{"sha256": x.SHA256}})
	}
	if len(programs) == 0 {
		return list
	}
	list = append(list, Resource{Name: "go", URI: "pkg:generic/go@" + strings.TrimPrefix(l.Go, "go")})
	seen := map[sbom.Module]bool{}
	for _, p := range programs {
		for _, m := range sbom.Modules(p.Info) {
			if !seen[m] {
				list = append(list, Resource{Name: m.Path, URI: sbom.GoPURL(m.Path, m.Version, ""), Digest: dirHash(m.Sum)})
			}
			seen[m] = true
		}
	}
	return list
}

func digestSet(d oci.Digest) map[string]string {
	return map[string]string{d.Algorithm(): d.Hex()}
}

// dirHash is go.sum's "h1:" in the form of in-toto's digest sets.
func dirHash(sum string) map[string]string {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:"))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return map[string]string{"dirHash": hex.EncodeToString(raw)}
}

// Subject names a thing that was built.
func Subject(name string, d oci.Digest) sign.Subject {
	return sign.Subject{Name: name, Digest: digestSet(d)}
}

// Parse reads the predicate of a statement, which Peek or Open gave.
func Parse(s sign.Statement) (*Provenance, error) {
	if s.PredicateType != PredicateType {
		return nil, fmt.Errorf("statement is of type %.100q: want %s", s.PredicateType, PredicateType)
	}
	p := &Provenance{}
	if err := json.Unmarshal(s.Predicate, p); err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	d := p.BuildDefinition
	if d.BuildType != BuildType {
		return nil, fmt.Errorf("provenance is of a build of type %.100q: want %s", d.BuildType, BuildType)
	}
	if d.External.Format != "oci" && d.External.Format != "machine" {
		return nil, fmt.Errorf("provenance: format %.40q: want oci or machine", d.External.Format)
	}
	return p, nil
}

// Stated says whether the build made a bill of materials of that digest.
func (p *Provenance) Stated(bill oci.Digest) bool {
	return slices.ContainsFunc(p.RunDetails.Byproducts, func(r Resource) bool {
		return r.MediaType == sbom.MediaType && r.Digest[bill.Algorithm()] == bill.Hex()
	})
}

// Contradiction says where a build's list of packages is not that of its
// lock, and is empty where the two agree.
func (p *Provenance) Contradiction(l *recipe.Lock) string {
	listed, locked := map[string]bool{}, map[string]bool{}
	for _, r := range p.BuildDefinition.Dependencies {
		if strings.HasPrefix(r.URI, "pkg:deb/") {
			listed[r.URI+" "+r.Digest["sha256"]] = true
		}
	}
	for _, pin := range slices.Concat(l.Packages, l.Boot) {
		key := sbom.DebianPURL(pin) + " " + pin.SHA256
		if locked[key] = true; !listed[key] {
			return "its lock has " + key + ", its dependencies do not"
		}
	}
	for _, key := range slices.Sorted(maps.Keys(listed)) {
		if !locked[key] {
			return "its dependencies have " + key + ", its lock does not"
		}
	}
	return ""
}

// SpeaksOf says whether one of a statement's subjects has the digest.
func SpeaksOf(s sign.Statement, d oci.Digest) bool {
	for _, subject := range s.Subject {
		if hex := subject.Digest[d.Algorithm()]; hex != "" && hex == d.Hex() {
			return true
		}
	}
	return false
}
