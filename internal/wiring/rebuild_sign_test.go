package wiring

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/cosign"
	"holdfast/internal/image/provenance"
	"holdfast/internal/oci"
	"holdfast/internal/rebuilt"
	"holdfast/internal/sign"
)

// aKey is a file with a private key, and its public half.
func aKey(t *testing.T) (string, cosign.Key) {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	public, err := cosign.NewKey(crypto.Signer(key).Public())
	must(t, err)
	return path, public
}

func TestARebuildIsSignedForWhatWasBuilt(t *testing.T) {
	w := newWorkshop(t)
	key, public := aKey(t)
	file := filepath.Join(t.TempDir(), "statement.json")
	s, err := w.Installation.RebuildSigner(t.Context(), key, file, "oci:"+w.image, nil)
	must(t, err)
	r, err := w.rebuild(t)
	must(t, err)
	must(t, s.Sign(r))
	raw, err := os.ReadFile(file)
	must(t, err)
	said, err := rebuilt.Parse(raw)
	must(t, err)
	lock, err := w.recipe(t, aRecipe).Lock.Marshal()
	must(t, err)
	if !said.SignedBy(public) || said.Format != "oci" || said.Input("lock") != oci.SHA256(lock) || said.Version["go"] == "" {
		t.Errorf("got %+v", said.Rebuild)
	}
	for _, p := range r.Parts {
		name := map[string]string{"manifest": "hello", "config": "config"}[p.Name]
		if name != "" && string(said.Subject(name)) != p.Have {
			t.Errorf("%s: it speaks of %s, the image has %s", name, said.Subject(name), p.Have)
		}
	}
}

func TestNothingIsSignedWhenAByteDiffers(t *testing.T) {
	w := newWorkshop(t)
	key, _ := aKey(t)
	file := filepath.Join(t.TempDir(), "statement.json")
	s, err := w.Installation.RebuildSigner(t.Context(), key, file, "oci:"+w.image, nil)
	must(t, err)
	w.tell(t, func(_ *sign.Statement, p *provenance.Provenance) {
		as(t, p, w.recipe(t, strings.Replace(aRecipe, "motd, source", "issue, source", 1)))
	})
	r, err := w.rebuild(t)
	must(t, err)
	if r.Equal {
		t.Fatal("an image of other files is equal")
	}
	if err := s.Sign(r); err == nil || !strings.Contains(err.Error(), "nothing is signed") {
		t.Errorf("got %v, want a refusal", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a statement was written")
	}
}
