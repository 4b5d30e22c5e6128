package enc

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const kid = "kbs:///default/key/redis"

var kek = bytes.Repeat([]byte{7}, 32)

// seal encrypts plain for the resource kid under kek.
func seal(t testing.TB, plain []byte) (ciphertext []byte, annotations map[string]string) {
	t.Helper()
	e, err := Encrypt(bytes.NewReader(plain), Config{Recipients: []Recipient{BrokerRecipient(kid, kek)}})
	if err != nil {
		t.Fatal(err)
	}
	if ciphertext, err = io.ReadAll(e); err != nil {
		t.Fatal(err)
	}
	if annotations, err = e.Annotations(); err != nil {
		t.Fatal(err)
	}
	return ciphertext, annotations
}

func keyOf(kek []byte) Key {
	return BrokerKey(func(_ context.Context, name string) ([]byte, error) {
		if name != kid {
			return nil, fmt.Errorf("no resource %s", name)
		}
		return kek, nil
	})
}

// open decrypts with kek; what it returns beside an error is worth nothing.
func open(r io.Reader, annotations map[string]string, kek []byte) ([]byte, error) {
	options, err := Unwrap(context.Background(), annotations, keyOf(kek))
	if err != nil {
		return nil, err
	}
	d, err := Decrypt(r, options)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

func TestWhatWasEncryptedComesBackHoweverItIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 4096, 100_001} {
		plain := bytes.Repeat([]byte("holdfast"), size/8+1)[:size]
		ciphertext, annotations := seal(t, plain)
		if size > 16 && bytes.Contains(ciphertext, plain[:16]) {
			t.Fatalf("%d bytes: plaintext shows through", size)
		}
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader,
			"halves": iotest.HalfReader, "data with EOF": iotest.DataErrReader,
		} {
			got, err := open(wrap(bytes.NewReader(ciphertext)), annotations, kek)
			if err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes, %s: got %d bytes and %v", size, name, len(got), err)
			}
		}
	}
}

func TestEveryFlippedBitOfCiphertextIsRefused(t *testing.T) {
	ciphertext, annotations := seal(t, []byte("forty-two bytes that nobody may ever alter"))
	for i := range ciphertext {
		bad := bytes.Clone(ciphertext)
		bad[i] ^= 1 << (i % 8)
		if _, err := open(bytes.NewReader(bad), annotations, kek); !errors.Is(err, ErrMAC) {
			t.Fatalf("byte %d flipped: got %v, want ErrMAC", i, err)
		}
	}
}

func TestShortenedOrLengthenedCiphertextIsRefused(t *testing.T) {
	ciphertext, annotations := seal(t, make([]byte, 100))
	for n := range ciphertext {
		if _, err := open(bytes.NewReader(ciphertext[:n]), annotations, kek); !errors.Is(err, ErrMAC) {
			t.Fatalf("cut at %d: got %v, want ErrMAC", n, err)
		}
	}
	if _, err := open(bytes.NewReader(append(ciphertext, 0)), annotations, kek); !errors.Is(err, ErrMAC) {
		t.Fatalf("one byte more: got %v, want ErrMAC", err)
	}
}

// Every bit of every annotation, in its base64 text and under it.
func TestEveryFlippedBitOfAnAnnotationIsRefused(t *testing.T) {
	ciphertext, annotations := seal(t, []byte("plain"))
	refused := func(name, value, what string) {
		bad := map[string]string{AnnotationOptions: annotations[AnnotationOptions], AnnotationBroker: annotations[AnnotationBroker]}
		bad[name] = value
		if got, err := open(bytes.NewReader(ciphertext), bad, kek); err == nil {
			t.Errorf("%s %s: got %q and no error", name, what, got)
		}
	}
	for name, value := range annotations {
		for bit := range len(value) * 8 {
			b := []byte(value)
			b[bit/8] ^= 1 << (bit % 8)
			refused(name, string(b), fmt.Sprintf("bit %d", bit))
		}
		raw, _ := base64.StdEncoding.DecodeString(value)
		for bit := range len(raw) * 8 {
			b := bytes.Clone(raw)
			b[bit/8] ^= 1 << (bit % 8)
			refused(name, base64.StdEncoding.EncodeToString(b), fmt.Sprintf("bit %d inside", bit))
		}
		refused(name, value[:len(value)-4], "shortened")
		refused(name, "", "removed")
	}
}

// ocicrypt would take this nonce in place of the wrapped one, and the MAC,
// which covers ciphertext only, would still be good.
func TestNonceInPublicOptionsIsRefused(t *testing.T) {
	ciphertext, annotations := seal(t, []byte("plain"))
	raw, _ := base64.StdEncoding.DecodeString(annotations[AnnotationOptions])
	nonce := base64.StdEncoding.EncodeToString(make([]byte, nonceSize))
	planted := strings.Replace(string(raw), `"cipheroptions":{}`, `"cipheroptions":{"nonce":"`+nonce+`"}`, 1)
	annotations[AnnotationOptions] = base64.StdEncoding.EncodeToString([]byte(planted))
	if _, err := open(bytes.NewReader(ciphertext), annotations, kek); !errors.Is(err, ErrFormat) {
		t.Fatalf("got %v, want ErrFormat", err)
	}
}

func TestWrongKeysAreRefusedByName(t *testing.T) {
	ciphertext, annotations := seal(t, []byte("plain"))
	for what, other := range map[string][]byte{"another": bytes.Repeat([]byte{8}, 32), "short": kek[:16], "none": nil} {
		_, err := open(bytes.NewReader(ciphertext), annotations, other)
		if !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), kid) {
			t.Errorf("%s key: got %v, want ErrNoKey naming %s", what, err, kid)
		}
	}
	if _, err := Unwrap(t.Context(), annotations); err == nil ||
		err.Error() != "no key for this layer: it is wrapped by provider.attestation-agent only" {
		t.Errorf("no key at all: got %v", err)
	}
}

func TestARefusalOfTheBrokerStaysVisible(t *testing.T) {
	_, annotations := seal(t, nil)
	denied := errors.New("denied by policy")
	_, err := Unwrap(t.Context(), annotations, BrokerKey(func(context.Context, string) ([]byte, error) { return nil, denied }))
	if !errors.Is(err, denied) || !errors.Is(err, ErrNoKey) {
		t.Fatalf("got %v, want both", err)
	}
}

func TestSecondRecipientOpensToo(t *testing.T) {
	e, err := Encrypt(strings.NewReader("plain"), Config{Recipients: []Recipient{
		BrokerRecipient("kbs:///other/key/1", bytes.Repeat([]byte{1}, 32)), BrokerRecipient(kid, kek),
	}})
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, _ := io.ReadAll(e)
	annotations, err := e.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := open(bytes.NewReader(ciphertext), annotations, kek); err != nil || string(got) != "plain" {
		t.Fatalf("got %q and %v", got, err)
	}
}

func TestClosingEarlyIsAnError(t *testing.T) {
	ciphertext, annotations := seal(t, make([]byte, 100))
	options, err := Unwrap(t.Context(), annotations, keyOf(kek))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decrypt(bytes.NewReader(ciphertext), options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, d, 100); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, ErrUnread) {
		t.Fatalf("close: got %v, want ErrUnread", err)
	}
	if _, err := d.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("read after close: got %v, want an error", err)
	}
}

func TestAFailingSourceIsNeverAnEnd(t *testing.T) {
	ciphertext, annotations := seal(t, make([]byte, 100))
	broken := errors.New("connection reset")
	r := io.MultiReader(bytes.NewReader(ciphertext), iotest.ErrReader(broken))
	if _, err := open(r, annotations, kek); !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
}

func TestSecretsCannotBePrinted(t *testing.T) {
	p := PrivateOptions{Key: []byte("SECRET")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, Options{Private: p}); strings.Contains(got, "SECRET") || strings.Contains(got, "83") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestKeyIDsOutsideTheBrokerAreRefused(t *testing.T) {
	for _, bad := range []string{
		"", "kbs:///a/b", "kbs:///a/b/c/d", "kbs://evil.example/a/b/c", "kbs:///a/../c", "kbs:///a/b/c?x", "kbs:///kbs:///default/key/1",
		"http:///a/b/c", "kbs:///a/b/" + strings.Repeat("c", 600), "kbs:///a/b/c\n",
	} {
		if CheckKID(bad) == nil {
			t.Errorf("%.40q is accepted", bad)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	plain := make([]byte, 16<<20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		e, _ := Encrypt(bytes.NewReader(plain), Config{Recipients: []Recipient{BrokerRecipient(kid, kek)}})
		if _, err := io.CopyBuffer(discard{}, e, make([]byte, 64<<10)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecrypt(b *testing.B) {
	ciphertext, annotations := seal(b, make([]byte, 16<<20))
	options, err := Unwrap(b.Context(), annotations, keyOf(kek))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(ciphertext)))
	for b.Loop() {
		d, _ := Decrypt(bytes.NewReader(ciphertext), options)
		if _, err := io.CopyBuffer(discard{}, d, make([]byte, 64<<10)); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is io.Discard without ReadFrom, so that the buffer's size counts.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
