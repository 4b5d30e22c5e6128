package sign

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

// The example of the DSSE protocol, https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md#test-vectors.
func TestPreAuthEncodingIsTheProtocols(t *testing.T) {
	got := string(PreAuthEncoding("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestUnsignedIsNotUntrusted(t *testing.T) {
	st, err := NewStatement("urn:test", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	env, err := Seal(st)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(env, x509.NewCertPool(), time.Now()); !errors.Is(err, ErrUnsigned) {
		t.Fatalf("got %v, want ErrUnsigned", err)
	}
}

// What is written in one pass is what encoding/json writes in several.
func TestAPredicateIsSealedAsItStands(t *testing.T) {
	signer, _ := certified(t)
	predicate := map[string]any{"b": "<\n>", "a": []int{1}}
	for _, subjects := range [][]Subject{nil, {{Name: "x", Digest: map[string]string{"sha256": "00"}}, {Digest: nil, Annotations: map[string]any{"a": 1.5}}}} {
		for _, signers := range [][]Signer{nil, {signer}, {signer, signer}} {
			st, err := NewStatement("urn:test", predicate, subjects...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := Seal(st, signers...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := SealPredicate("urn:test", st.Predicate, subjects, signers...)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, %v, want %s", got.Payload, err, want.Payload)
			}
			sameJSON(t, got)
		}
	}
	for _, e := range []Envelope{{}, {Payload: []byte{}}, {PayloadType: "<", Payload: []byte{255}, Signatures: []Signature{{}}}} {
		sameJSON(t, e)
	}
	if n := reflect.TypeFor[Envelope]().NumField() + reflect.TypeFor[Statement]().NumField(); n != 3+4 {
		t.Errorf("an envelope and a statement have %d members, of which %d are written", n, 3+4)
	}
}

func sameJSON(t *testing.T, e Envelope) {
	t.Helper()
	want, err := json.Marshal(e)
	got, also := e.AppendJSON(nil)
	if err != nil || also != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s, %v, want %s, %v", got, also, want, err)
	}
}
