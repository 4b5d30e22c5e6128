package wiring

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/keys"
)

// Trustee's kbs-client signs a role and a time, and nothing of the request
// (kbs/src/admin/authentication/bearer_jwt.rs reads no more).
func TestTokensOfTrusteesClientAreTakenWhereTheyAreAskedFor(t *testing.T) {
	for taken, want := range map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized} {
		i, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		ring, err := i.Ring(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", PlainAdminTokens: taken})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: ring.Pair(keys.Admin).Key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(map[string]any{"role": "admin", "exp": time.Now().Add(time.Minute).Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		q, err := http.NewRequest("POST", s.BrokerURL()+"/kbs/v0/resource/default/key/x", bytes.NewReader([]byte("value")))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token)
		a, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		if a.Body.Close(); a.StatusCode != want {
			t.Errorf("taken %v: got %d, want %d", taken, a.StatusCode, want)
		}
	}
}
