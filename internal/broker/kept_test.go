package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
)

func keptExample() *keptAttestation {
	return &keptAttestation{
		head:    keptHead{Time: time.Unix(1e9, 0).UTC(), Session: "0123456789abcdef", TEE: "tpm", Allow: true, Trust: map[string]int8{"hardware": 2}, PolicyVersion: 3, PolicyDigest: "sha256:00"},
		message: []byte(`{"runtime-data": {"nonce":"n", "tee-pubkey":{"kty":"EC"}},"tee-evidence":{"primary_evidence":{"a":1},"additional_evidence":""},"NONCE":1}`),
		offer:   api.ActivationOffer{EKCertificate: []byte("cert"), EKPublic: []byte("ek"), AKPublic: []byte("ak")},
		input:   []byte(`{"tee":"tpm"}`), data: []byte("{}"), token: jws{"a", []byte("b"), [64]byte{1}}, certificate: []byte("der"),
		chain: [][]byte{[]byte("one")}, references: [][]byte{[]byte("two"), {}},
	}
}

func TestWhatASessionProvedIsKeptAsItWasSent(t *testing.T) {
	raw, err := keptExample().write(nil)
	check(t, err)
	k, err := readKept(raw)
	check(t, err)
	a, err := k.attestation("package policy")
	check(t, err)
	if again, err := k.write(nil); err != nil || !bytes.Equal(again, raw) {
		t.Errorf("got %q, %v, want %q", again, err, raw)
	}
	if a.Message.RuntimeData.Nonce != "n" || string(a.Message.TEEEvidence.Primary) != `{"a":1}` || a.Token != "a.Yg.AQ"+strings.Repeat("A", 84) || a.Policy.Policy != "package policy" ||
		string(a.Policy.Input) != `{"tee":"tpm"}` || string(a.Offer.AKPublic) != "ak" || len(a.EndorsementChain) != 1 || string(a.References[0]) != "two" || a.Policy.Trust["hardware"] != 2 {
		t.Errorf("got %+v", a)
	}
}

func TestARecordOfBeforeMakesItsMachineAttestAgain(t *testing.T) {
	b := newBench(t, nil)
	before, err := json.Marshal(api.ProofAttestation{Session: "0123456789abcdef"})
	check(t, err)
	check(t, b.state.KeepAttested(t.Context(), "0123456789abcdef", before, time.Now().Add(time.Hour), 10, nil))
	_, err = b.readAttested(t.Context(), "0123456789abcdef")
	var p *problem
	if !errors.As(err, &p) || p.status != http.StatusUnauthorized || p.kind != kindNoToken {
		t.Errorf("got %v, want it to attest again", err)
	}
}

// A record that was read is written as it was, whatever the disk made of it.
//
//fuzz:parser kept.go
func FuzzKept(f *testing.F) {
	raw, err := keptExample().write(nil)
	check(f, err)
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Add([]byte(`{"session":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := readKept(raw)
		if err != nil {
			if !errors.Is(err, errKept) {
				t.Error(err)
			}
			return
		}
		_, _ = k.attestation("")
		text, err := k.write(nil)
		if err != nil {
			return // a time that JSON has no words for
		}
		if again, err := readKept(text); err != nil || !bytes.Equal(again.message, k.message) || len(again.references) != len(k.references) {
			t.Errorf("got %+v, %v, want %+v", again, err, k)
		}
	})
}

func TestTheHeadOfARecordIsWrittenAsItIsRead(t *testing.T) {
	full := keptHead{Time: time.Unix(1, 0).UTC(), Session: "s", TEE: "tpm", Allow: true, Trust: map[string]int8{"hardware": 2}, Extensions: map[string]any{"a": "<"},
		PolicyVersion: 3, PolicyDigest: "sha256:00", Chain: 4, Devices: []api.ProofDevice{{TEE: "sample", Class: "gpu", Policy: api.ProofDecision{Input: []byte("{}"), Data: []byte("{}")}}}}
	for fields, i := reflect.ValueOf(full), 0; i < fields.NumField(); i++ {
		if fields.Field(i).IsZero() {
			t.Errorf("the test leaves out %s", fields.Type().Field(i).Name)
		}
	}
	for _, head := range []keptHead{{}, full} {
		want, err := json.Marshal(head)
		check(t, err)
		if got, err := head.write(); err != nil || string(got) != string(want) {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
}
