package sealed_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/enc/sealed"
)

const kid = "kbs:///default/signing-key/sealed-secret"

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A store has resources by their names.
type store map[string][]byte

func (s store) get(_ context.Context, uri string) ([]byte, error) {
	if value, ok := s[uri]; ok {
		return slices.Clone(value), nil
	}
	return nil, fmt.Errorf("%s: the broker refused", uri)
}

// What the guest components' own tool sealed, and a Kata test provisions.
func TestSecretsOfTheGuestComponentsAreUnsealed(t *testing.T) {
	have := store{
		kid:                                   read(t, "kata-key.json"),
		"kbs:///default/sealed-secret/test":   []byte("one"),
		"kbs:///default/ngc-api-key/instruct": []byte("two"),
		"kbs:///default/ngc-api-key/embedqa":  []byte("three"),
	}
	want := []string{"one", "two", "three"}
	for i, text := range strings.Fields(string(read(t, "kata-sealed.txt"))) {
		got, err := sealed.Unseal(t.Context(), text, have.get)
		if err != nil || string(got) != want[i] {
			t.Errorf("number %d: got %q, %v, want %q", i, got, err, want[i])
		}
		if list, err := sealed.Resources(text); err != nil || len(list) != 2 || list[0] != kid || have[list[1]] == nil {
			t.Errorf("number %d: needs %v, %v", i, list, err)
		}
	}
}

func key(t testing.TB, name string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := sealed.PrivateKey(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// another seals by go-jose what the test data of the guest components holds.
func another(t *testing.T, payload []byte, header map[jose.HeaderKey]any) string {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: header}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key(t, "test-key.json"), KeyID: kid}}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return sealed.Prefix + compact
}

func TestSecretsAreJWSToOthers(t *testing.T) {
	have := store{kid: read(t, "test-key.json"), "kbs:///one/2/trois": []byte("value")}
	if got, err := sealed.Unseal(t.Context(), another(t, read(t, "vault-2.json"), nil), have.get); err != nil || string(got) != "value" {
		t.Errorf("by go-jose: got %q, %v", got, err)
	}
	text, err := sealed.Seal(sealed.NewVault("kbs:///one/2/trois"), kid, key(t, "test-key.json"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSigned(strings.TrimPrefix(text, sealed.Prefix), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify(key(t, "test-key.json").Public())
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(payload, &got), json.Unmarshal(read(t, "vault-2.json"), &want)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, %v, want %v", payload, err, want)
	}
	if jws.Signatures[0].Header.KeyID != kid {
		t.Errorf("kid is %s", jws.Signatures[0].Header.KeyID)
	}
}

func TestProvidersOfOthersAreRefused(t *testing.T) {
	have := store{kid: read(t, "test-key.json"), "xxx": []byte("value")}
	for _, name := range []string{"vault-1.json", "envelope-1.json"} {
		if _, err := sealed.Unseal(t.Context(), another(t, read(t, name), nil), have.get); !errors.Is(err, sealed.ErrFormat) || !strings.Contains(err.Error(), `provider is "aliyun", want kbs`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAnEnvelopeOpensWithItsKeyAlone(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	s, err := sealed.NewEnvelope([]byte("pass\x00word"), "kbs:///a/b/c", kek)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sealed.Seal(s, kid, key(t, "test-key.json"))
	if err != nil {
		t.Fatal(err)
	}
	have := store{kid: read(t, "test-key.json"), "kbs:///a/b/c": kek}
	if got, err := sealed.Unseal(t.Context(), text, have.get); err != nil || string(got) != "pass\x00word" {
		t.Errorf("got %q, %v", got, err)
	}
	for name, other := range map[string][]byte{"another key": bytes.Repeat([]byte{8}, 32), "a short key": kek[:31]} {
		have["kbs:///a/b/c"] = other
		if got, err := sealed.Unseal(t.Context(), text, have.get); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// Each character of each part is under the signature.
func TestWhatIsAlteredIsRefused(t *testing.T) {
	text := strings.Fields(string(read(t, "kata-sealed.txt")))[0]
	have := store{kid: read(t, "kata-key.json"), "kbs:///default/sealed-secret/test": []byte("one")}
	for at := range text {
		altered := []byte(text)
		altered[at] = 'X'
		if text[at] == 'X' {
			altered[at] = 'Y'
		}
		if got, err := sealed.Unseal(t.Context(), string(altered), have.get); err == nil {
			t.Errorf("at %d: got %q", at, got)
		}
	}
	have[kid] = read(t, "test-key-2.json")
	if _, err := sealed.Unseal(t.Context(), text, have.get); !errors.Is(err, sealed.ErrSignature) {
		t.Errorf("another key: got %v", err)
	}
}

func TestHeadersThatAskForLessAreRefused(t *testing.T) {
	have := store{kid: read(t, "test-key.json"), "kbs:///one/2/trois": []byte("value")}
	payload := base64.RawURLEncoding.EncodeToString(read(t, "vault-2.json"))
	for header, want := range map[string]string{
		`{"alg":"none","kid":"` + kid + `"}`:                     "want ES256",
		`{"alg":"HS256","kid":"` + kid + `"}`:                    "want ES256",
		`{"alg":"ES256"}`:                                        "no kid",
		`{"alg":"ES256","kid":"` + kid + `","crit":["b64"]}`:     "extensions",
		`{"alg":"ES256","kid":"` + kid + `","b64":false}`:        "extensions",
		`{"alg":"ES256","kid":"test-key"}`:                       "want kbs:///",
		`{"alg":"ES256","kid":"../../key"}`:                      "want kbs:///",
		`{"alg":"ES256","kid":"kbs://evil.example/a/b/c"}`:       "want kbs:///",
		`{"alg":"ES256","kid":"` + kid + `","jwk":{"kty":"EC"}}`: "0 bytes",
		`[]`: "header",
	} {
		text := "sealed." + base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload + "."
		if got, err := sealed.Unseal(t.Context(), text, have.get); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v, want %q", header, got, err, want)
		}
	}
	for _, text := range []string{"", "sealed.", "sealed.a.b", "sealed.a.b.c.d", "sealed.sealed.e30.e30.e30", "sealed.fakejwsheader.ew.fakesignature", "x.e30.e30.e30"} {
		if _, err := sealed.Unseal(t.Context(), text, have.get); !errors.Is(err, sealed.ErrFormat) {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestKeysAreJWKsOfOneKind(t *testing.T) {
	private := key(t, "test-key.json")
	for _, both := range []bool{true, false} {
		raw, err := sealed.MarshalJWK(private, both)
		if err != nil {
			t.Fatal(err)
		}
		var other jose.JSONWebKey
		if err := other.UnmarshalJSON(raw); err != nil || other.IsPublic() == both {
			t.Errorf("private %v: %s, %v", both, raw, err)
		}
		if public, err := sealed.PublicKey(raw); err != nil || !public.Equal(private.Public()) {
			t.Errorf("private %v: got %v, %v", both, public, err)
		}
		if _, err := sealed.PrivateKey(raw); (err == nil) != both {
			t.Errorf("private %v: got %v", both, err)
		}
	}
	for _, raw := range []string{"", "{}", `{"kty":"oct","k":"AA"}`, `{"kty":"EC","crv":"P-384","x":"","y":""}`,
		strings.Replace(string(read(t, "test-key-2.json")), `"sig"`, `"enc"`, 1),
		strings.Replace(string(read(t, "test-key-2.json")), `"x": "b`, `"x": "c`, 1)} {
		if _, err := sealed.PublicKey([]byte(raw)); err == nil {
			t.Errorf("%.60s: was taken for a key", raw)
		}
	}
}

// Nothing opens that the one key of the store did not sign.
//
//fuzz:parser sealed.go jws.go jwk.go envelope.go
func FuzzUnseal(f *testing.F) {
	for text := range strings.FieldsSeq(string(read(f, "kata-sealed.txt"))) {
		f.Add(text, read(f, "kata-key.json"))
	}
	genuine := map[string]bool{}
	for text := range strings.FieldsSeq(string(read(f, "kata-sealed.txt"))) {
		genuine[text] = true
	}
	kata := read(f, "kata-key.json")
	f.Fuzz(func(t *testing.T, text string, jwk []byte) {
		have := func(_ context.Context, uri string) ([]byte, error) {
			if uri == kid {
				return kata, nil
			}
			return bytes.Repeat([]byte{1}, 32), nil
		}
		if got, err := sealed.Unseal(t.Context(), text, have); err == nil && !genuine[text] {
			t.Errorf("%q opened to %q", text, got)
		}
		if list, err := sealed.Resources(text); err == nil && len(list) != 2 {
			t.Errorf("needs %v", list)
		}
		if private, err := sealed.PrivateKey(jwk); err == nil {
			if _, err := sealed.MarshalJWK(private, true); err != nil {
				t.Error(err)
			}
		}
	})
}
