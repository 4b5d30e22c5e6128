package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
)

func TestAKeyIsWrittenAsX509DoesIt(t *testing.T) {
	var all []publicKey
	for _, size := range []int{2048, 2056, 3072} {
		key, err := rsa.GenerateKey(rand.Reader, size)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &key.PublicKey)
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range append(all, &key.PublicKey) {
		want, err := x509.MarshalPKIXPublicKey(key)
		got, also := marshalKey(key)
		if err != nil || also != nil || !bytes.Equal(got, want) {
			t.Errorf("got %x, %v, want %x, %v", got, also, want, err)
		}
	}
}
