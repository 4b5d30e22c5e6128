package kbc

import (
	"crypto/ecdsa"
	"encoding/json"
	"os"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// vectors are another program's JWEs; see testdata/README.md.
func vectors(t testing.TB) (*ecdsa.PrivateKey, map[string]json.RawMessage) {
	t.Helper()
	data, err := os.ReadFile("testdata/jwe.json")
	if err != nil {
		t.Fatal(err)
	}
	v := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(v["key"]); err != nil {
		t.Fatal(err)
	}
	delete(v, "key")
	return jwk.Key.(*ecdsa.PrivateKey), v
}

func TestOnlyTheAnnouncedEncryptionToThisKeyIsOpened(t *testing.T) {
	key, jwes := vectors(t)
	for name, jwe := range jwes {
		got, err := open(jwe, key)
		if want := "a resource of the broker"; name == "good" && (err != nil || string(got) != want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		if name != "good" && err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

func TestTamperedJWEIsRefused(t *testing.T) {
	key, jwes := vectors(t)
	for _, field := range []string{"protected", "ciphertext", "encrypted_key", "iv", "tag"} {
		var jwe map[string]any
		if err := json.Unmarshal(jwes["good"], &jwe); err != nil {
			t.Fatal(err)
		}
		value := []byte(jwe[field].(string))
		value[4] ^= 3
		jwe[field] = string(value)
		data, err := json.Marshal(jwe)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open(data, key); err == nil {
			t.Errorf("a JWE with another %s was opened", field)
		}
	}
}
