package wiring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/blob/dir"
	"holdfast/internal/deb"
	"holdfast/internal/deb/debtest"
	"holdfast/internal/enc"
	"holdfast/internal/image/provenance"
	"holdfast/internal/image/recipe"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

const aRecipe = "name: hello\nsuite: bookworm\narchitecture: amd64\npackages: [hello]\n" +
	"files: [{path: /etc/motd, source: motd}]\noci: {entrypoint: [/usr/bin/hello]}\n"

// A workshop is an installation with keys whose cache has the one package of a
// recipe, and a mirror that has nothing.
type workshop struct {
	Builder
	image string // a layout
	pin   deb.Pin
}

// keyFolder is made once: a ring takes a second.
var keyFolder = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(scratch, "keys")
	_, err := keys.Init(context.Background(), dir, time.Now())
	return dir, err
})

// scratch is what tests share.
var scratch string

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "holdfast-wiring-*"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(scratch)
	os.Exit(code)
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	i, err := Open(t.TempDir())
	must(t, err)
	ring, err := keyFolder()
	must(t, err)
	must(t, os.CopyFS(i.Keys(), os.DirFS(ring)))
	mirror := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(mirror.Close)
	w := &workshop{Builder: Builder{Installation: i, Sources: Sources{Mirror: mirror.URL + "/debian"}}, image: filepath.Join(t.TempDir(), "image")}
	w.pin = w.pack(t, "hello", "amd64")
	_, err = w.OCI(t.Context(), w.recipe(t, aRecipe), w.image)
	must(t, err)
	return w
}

// pack puts a package into the cache.
func (w *workshop) pack(t *testing.T, name, architecture string) deb.Pin {
	t.Helper()
	store, err := dir.New(w.Installation.Cache())
	must(t, err)
	control := fmt.Sprintf("Package: %s\nVersion: 1\nArchitecture: %s\n", name, architecture)
	raw := debtest.Build(t, control, debtest.File{Name: "./usr/bin/hello", Content: "ELF"})
	must(t, store.Put(t.Context(), oci.SHA256(raw), bytes.NewReader(raw)))
	return deb.Pin{Name: name, Version: "1", Architecture: architecture, Size: int64(len(raw)), SHA256: oci.SHA256(raw).Hex(), Path: "pool/" + name + ".deb", Suite: "bookworm"}
}

// recipe writes a recipe of the one package with its lock.
func (w *workshop) recipe(t *testing.T, text string) LockedRecipe {
	t.Helper()
	folder := t.TempDir()
	must(t, os.WriteFile(filepath.Join(folder, "recipe.yaml"), []byte(text), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "motd"), []byte("welcome\n"), 0o600))
	r, err := recipe.Load(folder)
	must(t, err)
	digest, err := r.Digest()
	must(t, err)
	return LockedRecipe{r, &recipe.Lock{
		Version: 1, Recipe: digest, Suite: "bookworm", Architecture: "amd64", Go: runtime.Version(),
		Date: time.Date(2026, 11, 14, 9, 30, 0, 0, time.UTC), Packages: []deb.Pin{w.pin},
	}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *workshop) rebuild(t *testing.T) (*Rebuild, error) {
	return w.Rebuild(t.Context(), "oci:"+w.image, "", transport.Options{TempDir: t.TempDir()})
}

func TestAnImageIsBuiltAgainFromItsProvenanceAlone(t *testing.T) {
	w := newWorkshop(t)
	r, err := w.rebuild(t)
	must(t, err)
	if !r.Equal || !r.Certified || len(r.Parts) != 4 { // config, manifest, two layers
		t.Errorf("got %+v, want an equal image with provenance of this installation", r)
	}
}

func TestAnImageForAnotherArchitectureThanTheRecipesIsBuiltAgain(t *testing.T) {
	w := newWorkshop(t)
	w.pin = w.pack(t, "hello-arm64", "arm64")
	l := w.recipe(t, strings.Replace(aRecipe, "[hello]", "[\"hello-{architecture}\"]", 1))
	l.Lock.Architecture = "arm64"
	path := filepath.Join(l.Recipe.Dir(), "recipe.arm64.lock")
	must(t, l.Lock.Write(path))
	for named, architecture := range map[string]string{l.Recipe.Dir(): "arm64", path: ""} {
		l, err := LoadLocked(named, architecture)
		must(t, err)
		_, err = w.OCI(t.Context(), l, w.image)
		must(t, err)
		if r, err := w.rebuild(t); err != nil || !r.Equal {
			t.Errorf("built from %s: got %+v, %v, want an equal image", named, r, err)
		}
	}
}

// tell replaces the provenance by one that says what change makes of it,
// signed with the installation's key.
func (w *workshop) tell(t *testing.T, change func(*sign.Statement, *provenance.Provenance)) {
	t.Helper()
	ring, err := w.Installation.Ring(t.Context())
	must(t, err)
	w.replace(t, func(raw []byte) []byte {
		envelope, err := sign.ParseEnvelope(raw)
		must(t, err)
		s, err := sign.Peek(envelope)
		must(t, err)
		p, err := provenance.Parse(s)
		must(t, err)
		change(&s, p)
		s.Predicate, err = json.Marshal(p)
		must(t, err)
		envelope, err = sign.Seal(s, ring.Statements())
		must(t, err)
		raw, err = json.Marshal(envelope)
		must(t, err)
		return raw
	})
}

// replace changes the bytes of the provenance in the layout, as who writes the
// layout can.
func (w *workshop) replace(t *testing.T, change func([]byte) []byte) {
	t.Helper()
	var index v1.Index
	at := filepath.Join(w.image, "index.json")
	w.read(t, at, &index)
	for i, d := range index.Manifests {
		if d.ArtifactType != provenance.MediaType {
			continue
		}
		var m v1.Manifest
		w.read(t, w.blob(d.Digest), &m)
		raw, err := os.ReadFile(w.blob(m.Layers[0].Digest))
		must(t, err)
		m.Layers[0].Digest, m.Layers[0].Size = w.put(t, change(raw))
		changed, err := json.Marshal(m)
		must(t, err)
		index.Manifests[i].Digest, index.Manifests[i].Size = w.put(t, changed)
	}
	raw, err := json.Marshal(index)
	must(t, err)
	must(t, os.WriteFile(at, raw, 0o600))
}

func (w *workshop) blob(d digest.Digest) string {
	return filepath.Join(w.image, "blobs", "sha256", d.Encoded())
}

func (w *workshop) put(t *testing.T, raw []byte) (digest.Digest, int64) {
	t.Helper()
	d := digest.FromBytes(raw)
	must(t, os.WriteFile(w.blob(d), raw, 0o600))
	return d, int64(len(raw))
}

func (w *workshop) read(t *testing.T, path string, to any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(raw, to))
}

// as gives the files of a provenance for another recipe and lock.
func as(t *testing.T, p *provenance.Provenance, l LockedRecipe) {
	t.Helper()
	sources, err := provenance.Collect(l.Recipe.Dir(), l.Recipe, l.Lock, nil)
	must(t, err)
	p.BuildDefinition.External.Files = sources.Files
}

func TestAProvenanceThatLiesIsCaught(t *testing.T) {
	w := newWorkshop(t)
	for name, lie := range map[string]struct {
		tell func(*sign.Statement, *provenance.Provenance)
		want string
	}{
		"another recipe": {func(_ *sign.Statement, p *provenance.Provenance) {
			l := w.recipe(t, aRecipe)
			other := w.recipe(t, strings.Replace(aRecipe, "motd, source", "issue, source", 1))
			other.Lock = l.Lock
			as(t, p, other)
		}, "the recipe changed since it was locked"},
		"another lock": {func(_ *sign.Statement, p *provenance.Provenance) {
			l := w.recipe(t, aRecipe)
			l.Lock.Packages[0].Version = "2"
			as(t, p, l)
		}, "its lock has pkg:deb/debian/hello@2"},
		"more dependencies": {func(_ *sign.Statement, p *provenance.Provenance) {
			d := p.BuildDefinition.Dependencies[0]
			d.URI += "&x=1"
			p.BuildDefinition.Dependencies = append(p.BuildDefinition.Dependencies, d)
		}, "its lock does not"},
		"a file that is not its digest": {func(_ *sign.Statement, p *provenance.Provenance) {
			p.BuildDefinition.External.Files[0].Content = []byte("other")
		}, "its content is"},
		"a file outside": {func(_ *sign.Statement, p *provenance.Provenance) {
			p.BuildDefinition.External.Files[0].Path = "../motd"
		}, "want a path inside"},
		"another image": {func(s *sign.Statement, _ *provenance.Provenance) {
			s.Subject = s.Subject[:1]
			s.Subject[0].Digest = map[string]string{"sha256": strings.Repeat("0", 64)}
		}, "speaks of something else"},
		"another format": {func(_ *sign.Statement, p *provenance.Provenance) {
			p.BuildDefinition.External.Format = "machine"
		}, "format machine"},
	} {
		t.Run(name, func(t *testing.T) {
			fresh := newWorkshop(t)
			fresh.tell(t, lie.tell)
			_, err := fresh.rebuild(t)
			var lied *StatementError
			if !errors.As(err, &lied) || !strings.Contains(err.Error(), lie.want) {
				t.Errorf("got %v, want a StatementError with %q", err, lie.want)
			}
		})
	}
}

func TestABuildFromAnotherRecipeIsNotEqualAndTheFileIsNamed(t *testing.T) {
	w := newWorkshop(t)
	w.tell(t, func(_ *sign.Statement, p *provenance.Provenance) {
		as(t, p, w.recipe(t, strings.Replace(aRecipe, "motd, source", "issue, source", 1)))
	})
	r, err := w.rebuild(t)
	must(t, err)
	if r.Equal || r.Differences == nil || len(r.Differences.Files) == 0 {
		t.Fatalf("got %+v, want the differences", r)
	}
	if r.Parts[2].Have != r.Parts[2].Built || r.Parts[3].Have == r.Parts[3].Built {
		t.Errorf("got %+v, want the packages' layer equal and the recipe's not", r.Parts)
	}
}

func TestASignatureThatFitsNothingIsRefused(t *testing.T) {
	w := newWorkshop(t)
	w.replace(t, func(raw []byte) []byte {
		var envelope sign.Envelope
		must(t, json.Unmarshal(raw, &envelope))
		envelope.Payload[len(envelope.Payload)-3] ^= 1
		raw, err := json.Marshal(envelope)
		must(t, err)
		return raw
	})
	var lied *StatementError
	if _, err := w.rebuild(t); !errors.As(err, &lied) {
		t.Errorf("got %v, want a StatementError", err)
	}
}

func TestAnotherInstallationsProvenanceIsReadAndSaidToBeSo(t *testing.T) {
	w := newWorkshop(t)
	other, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	must(t, err)
	w.replace(t, func(raw []byte) []byte {
		envelope, err := sign.ParseEnvelope(raw)
		must(t, err)
		raw, err = json.Marshal(sign.SealPayload(envelope.Payload, other.Statements()))
		must(t, err)
		return raw
	})
	r, err := w.rebuild(t)
	must(t, err)
	if !r.Equal || r.Certified || r.SignedBy != sign.KeyID(other.Statements().Certificate) {
		t.Errorf("got %+v, want an equal image and a signer that is not known here", r)
	}
}

func TestAPackageThatIsGoneIsNamed(t *testing.T) {
	w := newWorkshop(t)
	must(t, os.RemoveAll(w.Installation.Cache()))
	var gone *UnavailableError
	if _, err := w.rebuild(t); !errors.As(err, &gone) || !strings.Contains(err.Error(), "hello 1") {
		t.Errorf("got %v, want the package named", err)
	}
}

func TestADamagedLayerIsNotEqual(t *testing.T) {
	w := newWorkshop(t)
	img, err := transport.Inspect(t.Context(), transport.LayoutRef(w.image, ""), transport.Options{})
	must(t, err)
	must(t, FlipLayerByte(w.image, img.Layers))
	if _, err := w.rebuild(t); !errors.Is(err, transport.ErrDigest) {
		t.Errorf("got %v, want ErrDigest", err)
	}
}

func TestAnEncryptedImageIsComparedByWhatItHolds(t *testing.T) {
	w := newWorkshop(t)
	to := []enc.Recipient{enc.BrokerRecipient("kbs:///default/key/x", make([]byte, 32))}
	for carried, want := range map[bool]error{true: nil, false: ErrNothingStated} {
		sealed := filepath.Join(t.TempDir(), "sealed")
		_, err := transport.Encrypt(t.Context(), transport.LayoutRef(w.image, ""), transport.LayoutRef(sealed, ""), to, transport.Options{Referrers: carried})
		must(t, err)
		r, err := w.Rebuild(t.Context(), "oci:"+sealed, "", transport.Options{})
		if !errors.Is(err, want) || err == nil && (!r.Equal || !r.Encrypted) {
			t.Errorf("statements carried along %t: got %+v, %v, want %v", carried, r, err, want)
		}
	}
}

func TestTheBillOfMaterialsIsTheOneOfTheBuild(t *testing.T) {
	w := newWorkshop(t)
	bill, err := w.Installation.SBOM(t.Context(), "oci:"+w.image, transport.Options{})
	must(t, err)
	if !bytes.Contains(bill, []byte("pkg:deb/debian/hello@1")) {
		t.Errorf("got %s, want the package in it", bill)
	}
	w.tell(t, func(_ *sign.Statement, p *provenance.Provenance) {
		p.RunDetails.Byproducts[0].Digest = map[string]string{"sha256": strings.Repeat("0", 64)}
	})
	var lied *StatementError
	if _, err := w.Installation.SBOM(t.Context(), "oci:"+w.image, transport.Options{}); !errors.As(err, &lied) {
		t.Errorf("got %v, want a StatementError", err)
	}
}
