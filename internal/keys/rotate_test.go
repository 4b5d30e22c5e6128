package keys_test

import (
	"crypto"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/keys"
)

func TestRotationReplacesTheTokenKeyAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	now := time.Now()
	old, err := keys.Init(t.Context(), dir, now)
	if err != nil {
		t.Fatal(err)
	}
	r, err := keys.Rotate(t.Context(), dir, now, now.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range keys.Names() {
		same := r.Pair(name).Certificate.Equal(old.Pair(name).Certificate)
		if same == (name == keys.Token) {
			t.Errorf("key %s: the same is %t", name, same)
		}
	}
	retired, err := keys.Retired(dir)
	if err != nil || len(retired) != 1 || !retired[0].Certificate.Equal(old.Pair(keys.Token).Certificate) || retired[0].At.Unix() != now.Unix() {
		t.Fatalf("got %+v, %v", retired, err)
	}
	if again, err := keys.Open(t.Context(), dir, now); err != nil || !again.Pair(keys.Token).Certificate.Equal(r.Pair(keys.Token).Certificate) {
		t.Errorf("opened again: %v", err)
	}
	later := now.Add(2 * time.Hour)
	if _, err = keys.Rotate(t.Context(), dir, later, later.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if retired, err = keys.Retired(dir); err != nil || len(retired) != 1 || retired[0].At.Unix() != later.Unix() {
		t.Errorf("got %+v, %v, want the last one alone", retired, err)
	}
}

func TestRotationThatWasCutOffIsMended(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "keys")
	now := time.Now()
	for _, d := range []string{dir, other} {
		if _, err := keys.Init(t.Context(), d, now); err != nil {
			t.Fatal(err)
		}
	}
	next, err := os.ReadFile(filepath.Join(other, "token.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token.key"), next, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := keys.Open(t.Context(), dir, now)
		if err != nil {
			t.Fatal(err)
		}
		cert := r.Pair(keys.Token).Certificate
		if err := cert.CheckSignatureFrom(r.Pair(keys.Root).Certificate); err != nil || !cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(r.Pair(keys.Token).Key.Public()) {
			t.Errorf("the certificate is not that of the key, by the root: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "image.key"), next, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(t.Context(), dir, now); err == nil {
		t.Error("a key that does not rotate was exchanged, and nobody minds")
	}
}
