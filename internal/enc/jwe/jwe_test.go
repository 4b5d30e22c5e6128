package jwe

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"testing"

	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
	"holdfast/internal/oci"
)

type pair struct{ public, private []byte }

// pairs makes one key pair of each kind.
func pairs(t testing.TB) map[string]pair {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]pair{"RSA": encode(t, r), "P-256": encode(t, e)}
}

func encode(t testing.TB, key crypto.Signer) pair {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

var plain = bytes.Repeat([]byte("a layer of some length. "), 5000)

func TestOcicryptDecryptsOurs(t *testing.T) {
	for kind, p := range pairs(t) {
		ciphertext, annotations := ours(t, p.public)
		c, err := config.DecryptWithPrivKeys([][]byte{p.private}, [][]byte{nil})
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := ocicrypt.DecryptLayer(c.DecryptConfig, bytes.NewReader(ciphertext), ocispec.Descriptor{Annotations: annotations}, false)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s: got %d bytes and %v", kind, len(got), err)
		}
	}
}

func TestOursDecryptsOcicrypts(t *testing.T) {
	for kind, p := range pairs(t) {
		c, err := config.EncryptWithJwe([][]byte{p.public})
		if err != nil {
			t.Fatal(err)
		}
		desc := ocispec.Descriptor{Digest: digest.FromBytes(plain)}
		r, finish, err := ocicrypt.EncryptLayer(c.EncryptConfig, bytes.NewReader(plain), desc)
		if err != nil {
			t.Fatal(err)
		}
		ciphertext, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		annotations, err := finish()
		if err != nil {
			t.Fatal(err)
		}
		got, options, err := open(t, ciphertext, annotations, p.private)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s: got %d bytes and %v", kind, len(got), err)
		}
		if want := oci.SHA256(plain); options.Private.Digest != want {
			t.Fatalf("%s: plaintext digest %s, want %s", kind, options.Private.Digest, want)
		}
	}
}

func TestAnotherPrivateKeyDoesNotOpen(t *testing.T) {
	ciphertext, annotations := ours(t, pairs(t)["P-256"].public)
	if _, _, err := open(t, ciphertext, annotations, pairs(t)["P-256"].private); !errors.Is(err, enc.ErrNoKey) {
		t.Fatalf("got %v, want ErrNoKey", err)
	}
}

func TestAnAlteredJWENeverYieldsOtherPlaintext(t *testing.T) {
	p := pairs(t)["P-256"]
	ciphertext, annotations := ours(t, p.public)
	whole := annotations[enc.AnnotationJWE]
	for i := range whole {
		b := []byte(whole)
		b[i] ^= 1 << (i % 7)
		annotations[enc.AnnotationJWE] = string(b)
		if got, _, err := open(t, ciphertext, annotations, p.private); err == nil && !bytes.Equal(got, plain) {
			t.Fatalf("byte %d: other plaintext and no error", i)
		}
	}
}

func TestKeysInTheWrongFormAreNamed(t *testing.T) {
	p := pairs(t)["RSA"]
	for _, bad := range [][]byte{nil, []byte("{}"), []byte("hello"), p.private} {
		if _, err := Recipient(bad); !errors.Is(err, ErrNoPublicKey) {
			t.Errorf("recipient %.20q: got %v", bad, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("{}"), []byte("hello"), p.public} {
		if _, err := Key(bad); !errors.Is(err, ErrNoPrivateKey) {
			t.Errorf("key %.20q: got %v", bad, err)
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err)
	}
	if _, err := Recipient(encode(t, small).public); err == nil {
		t.Error("an RSA key of 1024 bits is accepted")
	}
}

func ours(t testing.TB, public []byte) ([]byte, map[string]string) {
	t.Helper()
	to, err := Recipient(public)
	if err != nil {
		t.Fatal(err)
	}
	e, err := enc.Encrypt(bytes.NewReader(plain), enc.Config{Recipients: []enc.Recipient{to}, Digest: oci.SHA256(plain)})
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := io.ReadAll(e)
	if err != nil {
		t.Fatal(err)
	}
	annotations, err := e.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	return ciphertext, annotations
}

func open(t testing.TB, ciphertext []byte, annotations map[string]string, private []byte) ([]byte, enc.Options, error) {
	t.Helper()
	key, err := Key(private)
	if err != nil {
		t.Fatal(err)
	}
	options, err := enc.Unwrap(t.Context(), annotations, key)
	if err != nil {
		return nil, options, err
	}
	d, err := enc.Decrypt(bytes.NewReader(ciphertext), options)
	if err != nil {
		return nil, options, err
	}
	got, err := io.ReadAll(d)
	return got, options, err
}
