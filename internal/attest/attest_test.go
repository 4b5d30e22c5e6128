package attest_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// The wanted digest is by another program:
//
//	printf '%s' '{"additional-evidence":"","nonce":"bm9uY2U=","tee-pubkey":{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"eA","y":"eQ"}}' | sha384sum
func TestRuntimeDigestIsOverCanonicalJSON(t *testing.T) {
	const want = "412a2cd46689a873a3606a62cc5dadd837d33a7dfe3706531ba537d4c21eb3dfb6a4639a2302472555aa3430cee0bc4e"
	for _, key := range []string{
		`{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"eA","y":"eQ"}`,
		"{ \"y\":\"eQ\", \"x\":\"\\u0065A\",\n\"alg\":\"ECDH-ES\\u002bA256KW\", \"crv\":\"P-256\", \"kty\":\"EC\" }",
	} {
		got, err := attest.RuntimeDigest(api.RuntimeData{Nonce: "bm9uY2U=", TEEPubKey: json.RawMessage(key)}, "")
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("got %x, %v; want %s", got, err, want)
		}
	}
}

func TestRuntimeDigestRefusesWhatIsNoJSON(t *testing.T) {
	for _, key := range []string{"", "{", `{"a":1}}`} {
		data := api.RuntimeData{TEEPubKey: json.RawMessage(key)}
		if _, err := attest.RuntimeDigest(data, ""); !errors.Is(err, attest.ErrMalformed) {
			t.Errorf("key %q: got %v, want %v", key, err, attest.ErrMalformed)
		}
	}
}
