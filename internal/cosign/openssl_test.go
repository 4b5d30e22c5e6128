package cosign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/internal/oci"
)

func TestOpensslVerifiesOurSignatures(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip(`needs openssl: run "apt-get install openssl", or make test`)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	plain, err3 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	for kind, c := range map[string]struct {
		key   crypto.Signer
		words []string
	}{"Ed25519": {ed, nil}, "P-384": {p384, []string{"-digest", "sha256"}}, "RSA": {plain, []string{"-digest", "sha256"}}} {
		raw, err := Sign(c.key, oci.SHA256([]byte(kind)), "h/r:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseBundle(raw)
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewKey(c.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for name, content := range map[string][]byte{"key": k.PEM(), "message": s.message, "sig": s.sig} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("openssl", append([]string{"pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key", "-in", "message", "-sigfile", "sig"}, c.words...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
	}
}
