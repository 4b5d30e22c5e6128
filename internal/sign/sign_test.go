package sign

import (
	"crypto/x509"
	"errors"
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
