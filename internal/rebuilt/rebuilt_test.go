package rebuilt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"holdfast/internal/cosign"
	"holdfast/internal/sign"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

func aStatement(t testing.TB) []byte {
	t.Helper()
	until := time.Unix(2e9, 0).UTC()
	raw, err := Sign(Rebuild{
		Format: "machine", RootHash: "11", Until: &until, Version: map[string]string{"go": "go1.25"},
		Subjects: []sign.Subject{{Name: "uki.efi", Digest: map[string]string{"sha256": "aa"}}},
		Inputs:   []Resource{{Name: "lock", Digest: map[string]string{"sha256": "bb"}}},
	}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func publicKey(t testing.TB) cosign.Key {
	t.Helper()
	k, err := cosign.NewKey(testKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestStatementReadsBackAsItWasSigned(t *testing.T) {
	s, err := Parse(aStatement(t))
	if err != nil {
		t.Fatal(err)
	}
	if !s.SignedBy(publicKey(t)) || !s.About("sha256:aa", "11") || s.About("sha256:aa", "12") || s.About("sha256:ab", "11") || s.Input("lock") != "sha256:bb" {
		t.Errorf("got %+v", s.Rebuild)
	}
	if !s.Good(s.Until.Add(-1)) || s.Good(*s.Until) {
		t.Error("its end is not when it says")
	}
}

func TestEqualStatementsAreEqualBytes(t *testing.T) {
	if a, b := aStatement(t), aStatement(t); !bytes.Equal(a, b) {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestStatementWithoutEndsIsAboutNothing(t *testing.T) {
	s := &Statement{}
	if s.About("", "") || s.Subject("uki.efi") != "" {
		t.Error("an empty statement is about an image without names")
	}
}

// Whatever was read, its signature covers: no byte of the payload can change.
//
//fuzz:parser rebuilt.go
func FuzzParse(f *testing.F) {
	f.Add(aStatement(f))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"","cert":null}]}`))
	key := publicKey(f)
	var signed sign.Envelope
	if err := json.Unmarshal(aStatement(f), &signed); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Parse(raw)
		if err != nil {
			return
		}
		if len(s.Subjects) == 0 {
			t.Error("took a statement about nothing")
		}
		if s.SignedBy(key) && !bytes.Equal(s.envelope.Payload, signed.Payload) {
			t.Errorf("%q was never signed", s.envelope.Payload)
		}
	})
}
