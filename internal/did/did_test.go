package did

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/mr-tron/base58"
)

func TestVectorsOfTheSpecificationHold(t *testing.T) {
	raw, err := os.ReadFile("testdata/ed25519.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ DID, Seed, PublicKeyBase58, X string }
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		want, err := base58.Decode(v.PublicKeyBase58)
		if v.X != "" {
			want, err = base64.RawURLEncoding.DecodeString(v.X)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseKey(v.DID); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got key %x and %v, want %x", v.DID, got, err, want)
		}
		seed, err := hex.DecodeString(v.Seed)
		if err != nil || len(seed) != ed25519.SeedSize {
			continue // some cases give the public key only
		}
		if got := Key(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)); got != v.DID {
			t.Errorf("got %s, want %s", got, v.DID)
		}
	}
}

func TestIdentifiersOfOtherKeysAreRefused(t *testing.T) {
	for _, s := range []string{
		"", "did:key:", "did:key:z", "did:web:example.com", "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
		"did:key:z6LShs9GGnqk85isEBzzshkuVWrVKsRp24GnDuHk8QWkARMW",     // X25519
		"did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169",    // P-256
		"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",      // a character is missing
		"did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp#key", // a URL within it
	} {
		if key, err := ParseKey(s); err == nil {
			t.Errorf("%q gave %x", s, key)
		}
	}
}

// What is read as an identifier is written as the same one.
//
//fuzz:parser did.go
func FuzzParseKey(f *testing.F) {
	f.Add("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp")
	f.Add("did:key:z111111")
	f.Fuzz(func(t *testing.T, s string) {
		if key, err := ParseKey(s); err == nil && Key(key) != s {
			t.Errorf("%q is written as %q", s, Key(key))
		}
	})
}
