package attest_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// The digest does not depend on how the key's JSON was written, and depends on
// each of the parts.
//
//fuzz:parser runtime.go
func FuzzRuntimeDigest(f *testing.F) {
	f.Add(`{"kty":"EC"}`, "bm9uY2U=", "")
	f.Add(`{"b":1.0,"a":[1e2,"é"]}`, "n", "{}")
	f.Add(`[1e400,"\ud800"]`, "\x00\xff", "{}")
	f.Fuzz(func(t *testing.T, key, nonce, additional string) {
		data := api.RuntimeData{Nonce: nonce, TEEPubKey: json.RawMessage(key)}
		d, err := attest.RuntimeDigest(data, additional)
		if err != nil {
			return
		}
		if len(d) != sha512.Size384 {
			t.Errorf("digest of %d bytes", len(d))
		}
		var spaced bytes.Buffer
		if err := json.Indent(&spaced, []byte(key), " ", "\t"); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		again, err := attest.RuntimeDigest(api.RuntimeData{Nonce: nonce, TEEPubKey: spaced.Bytes()}, additional)
		if err != nil || !bytes.Equal(d, again) {
			t.Errorf("with blanks the digest is %x, %v, not %x", again, err, d)
		}
		if other, err := attest.RuntimeDigest(api.RuntimeData{Nonce: nonce + "x", TEEPubKey: json.RawMessage(key)}, additional); err != nil || bytes.Equal(d, other) {
			t.Errorf("another nonce: %x, %v", other, err)
		}
	})
}
