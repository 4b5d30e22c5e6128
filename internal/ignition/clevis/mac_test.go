package clevis

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/swtpm"
)

var macPin = json.RawMessage(`{"pcr_bank":"sha256","pcr_ids":[8,11]}`)

func mac(t *testing.T, p TPM2, message string) []byte {
	t.Helper()
	m, err := p.Mac(t.Context(), []byte(message), macPin)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAMacIsOfOneTPMInOneState(t *testing.T) {
	dir, mine := newChip(t)
	_, other := newChip(t)
	changed := TPM2{Chip: func(ctx context.Context) (transport.TPMCloser, error) {
		chip, err := openChip(ctx, dir)
		if err != nil {
			return nil, err
		}
		_, err = tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: 8, Auth: tpm2.PasswordAuth(nil)},
			Digests: tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: make([]byte, 32)}}}}.Execute(chip)
		return chip, err
	}}
	first := mac(t, mine, "a")
	if !bytes.Equal(first, mac(t, mine, "a")) || len(first) != 32 {
		t.Error("the same TPM in the same state gives two MACs")
	}
	for what, got := range map[string][]byte{"another TPM": mac(t, other, "a"), "another state": mac(t, changed, "a"), "another message": mac(t, mine, "b")} {
		if bytes.Equal(first, got) {
			t.Errorf("%s has the same MAC", what)
		}
	}
}

// A TPM counts a cut after a use of the parent key as a guess of its password,
// and refuses it after the third.
func TestATPMThatWasCutOffOftenStillOpens(t *testing.T) {
	dir, pin := newChip(t)
	jwe, err := pin.Seal(t.Context(), []byte(secret), macPin)
	if err != nil {
		t.Fatal(err)
	}
	abrupt := TPM2{Chip: func(ctx context.Context) (transport.TPMCloser, error) { return swtpm.Open(ctx, dir) }}
	for i := range 8 {
		if got, err := abrupt.Open(t.Context(), jwe); err != nil || string(got) != secret {
			t.Fatalf("after %d cuts: %q, %v", i, got, err)
		}
	}
}
