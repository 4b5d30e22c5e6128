package keys

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

// A pair that is accepted is a key and its own certificate, and is written
// back as it was read.
//
//fuzz:parser keys.go:readPair,readPEM,samePublic,writePair
func FuzzReadPair(f *testing.F) {
	ring, err := Init(f.Context(), filepath.Join(f.TempDir(), "keys"), now)
	if err != nil {
		f.Fatal(err)
	}
	file := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(ring.Dir(), name))
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(file("image.key"), file("image.crt"))
	f.Add(file("tls.key"), file("tls.crt"))
	f.Add(file("tls.key"), file("image.crt"))
	f.Add(file("image.crt"), file("image.key"))
	f.Fuzz(func(t *testing.T, key, cert []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"x.key": key, "x.crt": cert} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := readPair(dir, "x")
		if err != nil {
			return
		}
		if err := writePair(dir, "y", p); err != nil {
			t.Fatalf("a pair that was read cannot be written: %v", err)
		}
		again, err := readPair(dir, "y")
		if err != nil || !again.Certificate.Equal(p.Certificate) {
			t.Errorf("reads back as %v, %v", again.Certificate, err)
		}
		if _, err := x509.MarshalPKIXPublicKey(again.Key.Public()); err != nil {
			t.Error(err)
		}
	})
}
