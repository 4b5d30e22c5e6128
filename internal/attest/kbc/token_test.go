package kbc_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
)

func TestATokenComesWithItsKeyAndIsRenewedBeforeItExpires(t *testing.T) {
	b := newBroker(t)
	var life time.Duration
	b.intercept = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/kbs/v0/attest" {
			return false
		}
		var a api.KBSAttestation
		b.read(r, &a)
		b.key = a.RuntimeData.TEEPubKey
		claims := fmt.Sprintf(`{"exp":%d,"n":%d}`, time.Now().Add(life).Unix(), b.handshake.Load())
		b.write(w, api.KBSToken{Token: "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"})
		return true
	}
	c := b.client(t)
	for _, step := range []struct {
		life       time.Duration
		handshakes int32
	}{{10 * time.Second, 1}, {time.Hour, 2}, {time.Hour, 2}} {
		life = step.life
		token, key, err := c.Token(t.Context())
		if err != nil || strings.Count(token, ".") != 2 || b.handshake.Load() != step.handshakes {
			t.Fatalf("got %q, %v after %d handshakes, want %d", token, err, b.handshake.Load(), step.handshakes)
		}
		checkPair(t, key, b.key)
	}
	c.Close()
	if token, _, err := c.Token(t.Context()); err == nil {
		t.Errorf("closed: got %q", token)
	}
}

// checkPair wants the private half of what the broker was shown.
func checkPair(t *testing.T, private []byte, shown json.RawMessage) {
	t.Helper()
	var public jose.JSONWebKey
	if err := public.UnmarshalJSON(shown); err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(private)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		t.Fatalf("got %q, want one PEM block of PKCS #8", private)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !key.(*ecdsa.PrivateKey).PublicKey.Equal(public.Key) {
		t.Error("the key is not the one that the token is bound to")
	}
}
