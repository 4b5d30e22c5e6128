package wiring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"holdfast/internal/keys"
	"holdfast/internal/sign"
)

// stated makes a layout with an image and a statement that refers to it and
// speaks of about, or of the image.
func stated(t *testing.T, signer sign.Signer, about string) string {
	t.Helper()
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.MediaType(img, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	statement, err := sign.NewStatement("urn:test:claim", map[string]bool{"good": true},
		sign.Subject{Name: "it", Digest: map[string]string{"sha256": or(about, digest.Hex)}})
	if err != nil {
		t.Fatal(err)
	}
	env, err := sign.Seal(statement, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	const kind = "application/vnd.test.statement"
	artifact := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), kind)
	artifact, err = mutate.AppendLayers(artifact, static.NewLayer(raw, kind))
	if err != nil {
		t.Fatal(err)
	}
	desc, err := partial.Descriptor(img)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "it"})); err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(mutate.Subject(artifact, *desc).(v1.Image)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhyFollowsAnyStatementThatRefersToAnImage(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signer  sign.Signer
		about   string
		problem string
	}{
		"ours":          {ring.Statements(), "", ""},
		"a stranger's":  {foreign.Statements(), "", sign.ErrUntrusted.Error()},
		"of other bits": {ring.Statements(), strings.Repeat("0", 64), "it speaks of something else"},
	} {
		l, err := i.Why(t.Context(), stated(t, c.signer, c.about))
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Links) != 1 || l.Links[0].Kind != "statement" || l.Links[0].Text != "urn:test:claim" || l.Links[0].Problem != c.problem {
			t.Fatalf("%s: got %+v, want one statement with problem %q", name, l.Links[0], c.problem)
		}
		if (c.problem == "") != (l.Problems() == 0) {
			t.Errorf("%s: got %d problems", name, l.Problems())
		}
		if c.problem != "" {
			continue
		}
		key := l.Links[0].Links[0]
		if key.Digest != sign.KeyID(ring.Pair(keys.Image).Certificate) || key.Links[0].Digest != sign.KeyID(ring.Pair(keys.Root).Certificate) {
			t.Errorf("%s: got key %+v, want ours under our root", name, key)
		}
	}
}

func TestReportsOfRunsAreBounded(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for n := range keptReports + 5 {
		s := &session{Run: Run{Builder: Builder{Installation: i}, Name: "run-" + strconv.Itoa(n)}, report: &Report{Configuration: "sha256:x"}}
		if err := s.remember(); err != nil {
			t.Fatal(err)
		}
	}
	all, err := os.ReadDir(i.reports())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > keptReports+1 {
		t.Errorf("got %d reports, want about %d", len(all), keptReports)
	}
	if r, err := i.Remembered("run-" + strconv.Itoa(keptReports+4)); err != nil || r.Configuration != "sha256:x" {
		t.Errorf("the latest: got %+v, %v", r, err)
	}
	if _, err := i.Remembered("../keys/root"); err == nil {
		t.Error("a name that leaves the folder was taken")
	}
}
