package broker

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func ecJWK(t testing.TB, curve elliptic.Curve, name string) (*ecdsa.PrivateKey, json.RawMessage) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	raw, err := json.Marshal(teeKey{Kty: "EC", Alg: algECDH, Crv: name, X: base64url(point[1 : 1+half]), Y: base64url(point[1+half:])})
	if err != nil {
		t.Fatal(err)
	}
	return key, raw
}

func rsaJWK(t testing.TB) (*rsa.PrivateKey, json.RawMessage) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(teeKey{Kty: "RSA", Alg: algRSA, N: base64url(key.N.Bytes()), E: base64url(big.NewInt(int64(key.E)).Bytes())})
	if err != nil {
		t.Fatal(err)
	}
	return key, raw
}

// TestJoseOpensWhatIsSealed checks against another implementation of RFC 7516.
func TestJoseOpensWhatIsSealed(t *testing.T) {
	p256, p256JWK := ecJWK(t, elliptic.P256(), "P-256")
	p521, p521JWK := ecJWK(t, elliptic.P521(), "P-521")
	oaep, oaepJWK := rsaJWK(t)
	for _, test := range []struct {
		private crypto.PrivateKey
		jwk     json.RawMessage
		alg     jose.KeyAlgorithm
	}{{p256, p256JWK, jose.ECDH_ES_A256KW}, {p521, p521JWK, jose.ECDH_ES_A256KW}, {oaep, oaepJWK, jose.RSA_OAEP_256}} {
		key, err := parseTEEKey(test.jwk)
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"x", strings.Repeat("secret", 10000)} {
			box, err := key.seal([]byte(value))
			if err != nil {
				t.Fatal(err)
			}
			raw, _ := json.Marshal(box)
			jwe, err := jose.ParseEncryptedJSON(string(raw), []jose.KeyAlgorithm{test.alg}, []jose.ContentEncryption{jose.A256GCM})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := jwe.Decrypt(test.private); err != nil || string(got) != value {
				t.Fatalf("%s: got %q, %v", test.jwk, got, err)
			}
		}
	}
}

// TestHeaderSurvivesTheClientsEncoder follows guest-components: it decodes the
// protected header into ProtectedHeader{alg, enc, flattened map}, encodes that
// again (serde_json: alg, enc, then the map's keys in order, at every level)
// and authenticates the result, not the bytes that came.
func TestHeaderSurvivesTheClientsEncoder(t *testing.T) {
	_, p256 := ecJWK(t, elliptic.P256(), "P-256")
	_, oaep := rsaJWK(t)
	for _, jwk := range []json.RawMessage{p256, oaep} {
		key, err := parseTEEKey(jwk)
		if err != nil {
			t.Fatal(err)
		}
		box, err := key.seal([]byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		sent, err := base64.RawURLEncoding.DecodeString(box.Protected)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(sent, &fields); err != nil {
			t.Fatal(err)
		}
		again := encodeAsClient(t, fields)
		if !bytes.Equal(again, sent) {
			t.Errorf("sent  %s\nagain %s", sent, again)
		}
	}
}

func encodeAsClient(t *testing.T, fields map[string]any) []byte {
	alg, _ := json.Marshal(fields["alg"])
	enc, _ := json.Marshal(fields["enc"])
	delete(fields, "alg")
	delete(fields, "enc")
	rest, err := json.Marshal(fields) // Go, too, sorts a map's keys
	if err != nil {
		t.Fatal(err)
	}
	out := `{"alg":` + string(alg) + `,"enc":` + string(enc)
	if len(fields) > 0 {
		return []byte(out + "," + string(rest[1:]))
	}
	return []byte(out + "}")
}

func TestBadMachineKeysAreRefused(t *testing.T) {
	_, good := ecJWK(t, elliptic.P256(), "P-256")
	var k teeKey
	if err := json.Unmarshal(good, &k); err != nil {
		t.Fatal(err)
	}
	zero := base64url(make([]byte, 32))
	for name, edit := range map[string]func(*teeKey){
		"not on the curve":  func(k *teeKey) { k.Y = k.X },
		"infinity":          func(k *teeKey) { k.X, k.Y = zero, zero },
		"short coordinate":  func(k *teeKey) { k.X = k.X[:40] },
		"padding":           func(k *teeKey) { k.X += "=" },
		"other algorithm":   func(k *teeKey) { k.Alg = "ECDH-ES" },
		"other curve":       func(k *teeKey) { k.Crv = "P-384" },
		"RSA with 1 bit":    func(k *teeKey) { *k = teeKey{Kty: "RSA", Alg: algRSA, N: "AQ", E: "AQAB"} },
		"RSA, PKCS #1 v1.5": func(k *teeKey) { *k = teeKey{Kty: "RSA", Alg: "RSA1_5"} },
		"RSA, exponent 0": func(k *teeKey) {
			*k = teeKey{Kty: "RSA", Alg: algRSA, N: base64url(bytes.Repeat([]byte{0xff}, 256)), E: "AA"}
		},
		"RSA, even modulus": func(k *teeKey) {
			*k = teeKey{Kty: "RSA", Alg: algRSA, N: base64url(bytes.Repeat([]byte{0xfe}, 256)), E: "AQAB"}
		},
		"empty": func(k *teeKey) { *k = teeKey{} },
	} {
		bad := k
		edit(&bad)
		raw, _ := json.Marshal(bad)
		if got, err := parseTEEKey(raw); err == nil {
			t.Errorf("%s: got %+v, want an error", name, got)
		}
	}
	if _, err := parseTEEKey(nil); err == nil {
		t.Error("absent: want an error")
	}
}
