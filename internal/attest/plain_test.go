package attest

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"testing"

	"github.com/gowebpki/jcs"

	"holdfast/internal/api"
)

// What is written without the canonicalizer is what the canonicalizer writes.
//
//fuzz:parser plain.go
func FuzzPlainRuntimeData(f *testing.F) {
	for _, key := range []string{`{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"aa-_","y":"bb"}`, `{"b":"<&>","a":"","B":"~ "}`,
		`{}`, `{"a":"1",`, `{"a":"1","a":"2"}`, `{"a":"1",}`, `{"a":"1"},`, `{"a":"1"}}`, `{"a":"\\u0041"}`, `{"a":1}`, `{"a" :"1"}`, `{"a":"1"`, `{"a":"\x7f"}`, `{"a":"é"}`, `{"a":"b"}{"a":"b"}`, ``, `{`} {
		f.Add(key, "bm9uY2U=", "")
	}
	f.Add(`{"kty":"EC"}`, "<", "{}")
	f.Fuzz(func(t *testing.T, key, nonce, additional string) {
		got, ok := appendPlain(nil, api.RuntimeData{TEEPubKey: json.RawMessage(key), Nonce: nonce}, additional)
		if !ok {
			return
		}
		text, err := json.Marshal(map[string]any{"tee-pubkey": json.RawMessage(key), "nonce": nonce, "additional-evidence": additional})
		if err != nil {
			t.Fatalf("%q was taken, which is no JSON: %v", key, err)
		}
		want, err := jcs.Transform(text)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got  %s\nwant %s (%v)", got, want, err)
		}
		if sum, err := RuntimeDigest(api.RuntimeData{TEEPubKey: json.RawMessage(key), Nonce: nonce}, additional); err != nil || [48]byte(sum) != sha512.Sum384(want) {
			t.Errorf("the digest is %x, %v", sum, err)
		}
	})
}

func TestTheKeysOfClientsAreWrittenPlainly(t *testing.T) {
	key := json.RawMessage(`{"kty":"EC","alg":"ECDH-ES+A256KW","crv":"P-256","x":"aa-_","y":"bb"}`)
	if _, ok := appendPlain(nil, api.RuntimeData{TEEPubKey: key, Nonce: "bm9uY2U="}, ""); !ok {
		t.Error("it was not")
	}
}
