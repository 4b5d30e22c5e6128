package jwe

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// A fixed key, so that inputs that were found stay good.
func fixedKey(t testing.TB) pair {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(7).FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return encode(t, key)
}

// A public key that is accepted can be wrapped for; a private one opens what
// it should, and neither passes as the other.
//
//fuzz:parser jwe.go:Recipient,parsePublic,Key,parsePrivate
func FuzzKeys(f *testing.F) {
	fixed := fixedKey(f)
	block, _ := pem.Decode(fixed.private)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(parsed.(*ecdsa.PrivateKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fixed.public)
	f.Add(fixed.private)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`))
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Recipient(b); err == nil {
			if _, packet, err := r.Wrap([]byte("options")); err == nil && !bytes.HasPrefix(packet, []byte("{")) {
				t.Errorf("wrapped into %q", packet)
			}
		}
		if k, err := Key(b); err == nil {
			if _, err := k.Unwrap(t.Context(), []byte("{}")); err == nil {
				t.Error("unwrapped nothing")
			}
			if _, err := Recipient(b); err == nil {
				t.Error("a private key passes as a public one")
			}
		}
	})
}

// A message that opens holds what was wrapped for this key, or what somebody
// else made for it; one that was altered does not open.
//
//fuzz:parser jwe.go:Unwrap
func FuzzUnwrap(f *testing.F) {
	fixed := fixedKey(f)
	recipient, err := Recipient(fixed.public)
	if err != nil {
		f.Fatal(err)
	}
	k, err := Key(fixed.private)
	if err != nil {
		f.Fatal(err)
	}
	_, packet, err := recipient.Wrap([]byte("the options of a layer"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet)
	f.Add([]byte(strings.Replace(string(packet), "A256GCM", "A128GCM", 1)))
	f.Add([]byte(`{"recipients":[{"header":{"alg":"dir"}}],"protected":"e30","ciphertext":"","iv":"","tag":""}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := k.Unwrap(t.Context(), message)
		if err == nil && string(got) != "the options of a layer" {
			t.Errorf("opened to %q", got)
		}
	})
}
