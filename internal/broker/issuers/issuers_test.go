package issuers

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func keySet(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "one"}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsWrongWithAListIsSaidWithItsLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "issuers.yaml")
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newKey(t), KeyID: "one"}}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "private"), private)
	write(t, filepath.Join(dir, "good"), keySet(t, newKey(t).Public()))
	for text, want := range map[string]string{
		"":                                                           ": the file is empty",
		"issuers: [{keys: good}]":                                    "issuer 1 has no name",
		"issuers: [{name: x}]":                                       ":1: issuer \"x\": want keys, certificates or jwks",
		"issuers: [{name: x, key: good}]":                            `unknown key "key"`,
		"issuers: [{name: x, keys: gone}]":                           "gone: no such file",
		"issuers: [{name: x, keys: /dev/null}]":                      "/dev/null",
		"issuers: [{name: x, keys: private}]":                        "private: key \"one\": want a public key",
		"issuers: [{name: x, certificates: good}]":                   "good: want certificates in PEM",
		"issuers: [{name: x, keys: good}, {name: x, keys: good}]":    "is there twice",
		"issuers: [{name: x, jwks: 'http://192.0.2.1/jwks'}]":        "want https://HOST/PATH, with the file of the CA",
		"issuers: [{name: x, jwks: 'https://b.example/jwks'}]":       "with the file of the CA",
		"issuers: [{name: x, jwks: 'file:///etc/passwd', ca: good}]": "want https://",
		"issuers: [{name: x, keys: good, ca: good}]":                 "ca is of a jwks URL",
		"issuers: [{name: x, jwks: 'https://u:p@b/jwks', ca: good}]": "want https://",
	} {
		write(t, path, []byte(text))
		if _, err := Open(Config{File: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	write(t, path, []byte("issuers: [{name: x, keys: good}]"))
	l, err := Open(Config{File: path})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Get(); len(got) != 1 || got[0].Name != "x" || len(got[0].Keys) != 1 || got[0].Roots != nil {
		t.Errorf("got %+v", got)
	}
}

func TestKeysOfAURLAreForgottenWhenItIsSilent(t *testing.T) {
	var answer atomic.Pointer[[]byte]
	first := keySet(t, newKey(t).Public())
	answer.Store(&first)
	publisher := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*answer.Load()) }))
	defer publisher.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "issuers.yaml")
	write(t, path, []byte("issuers: [{name: x, jwks: '"+publisher.URL+"/jwks', ca: ca.crt}]"))
	write(t, filepath.Join(dir, "ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: publisher.Certificate().Raw}))
	now := time.Now()
	l, err := Open(Config{File: path, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	keys := func() publicKeys { return l.Get()[0].Keys }
	fetch := func() { l.fetch(t.Context(), l.file.Get()[0]) }
	if len(keys()) != 0 {
		t.Error("there are keys before any were fetched")
	}
	fetch()
	if len(keys()) != 1 {
		t.Fatal("no keys were fetched")
	}
	second, garbage := keySet(t, newKey(t).Public()), []byte("<html>")
	answer.Store(&second)
	old := keys()["one"].(*ecdsa.PublicKey)
	if fetch(); old.Equal(keys()["one"]) {
		t.Error("the key is still the first")
	}
	answer.Store(&garbage)
	now = now.Add(keepFor)
	if fetch(); len(keys()) != 1 {
		t.Error("the keys are gone within ten minutes")
	}
	now = now.Add(time.Second)
	if fetch(); len(keys()) != 0 {
		t.Error("the keys outlive the silence")
	}
}

func TestAURLIsVouchedForByItsCAOnlyAndLeadsNowhere(t *testing.T) {
	set := keySet(t, newKey(t).Public())
	good := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	good.Config.ErrorLog = log.New(io.Discard, "", 0)
	good.StartTLS()
	defer good.Close()
	elsewhere := httptest.NewServer(http.RedirectHandler(good.URL, http.StatusFound))
	defer elsewhere.Close()
	for url, want := range map[string]string{good.URL: "certificate", elsewhere.URL: "leads elsewhere"} {
		if _, err := get(t.Context(), entry{url: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

//fuzz:parser parse.go
func FuzzList(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"x","y":"y"}]}`))
	f.Add([]byte("issuers: [{name: x, jwks: 'https://b.example/jwks', ca: good}]"))
	f.Add(keySet(f, newKey(f).Public()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := parseKeys(raw)
		if err == nil && (len(keys) == 0 || len(keys) > maxKeys) {
			t.Errorf("got %d keys", len(keys))
		}
		texts, err := parse(raw)
		for _, t0 := range texts {
			if err == nil && t0.JWKS.Text != "" && t0.CA.Text == "" && !strings.HasPrefix(t0.JWKS.Text, "http") {
				t.Errorf("got a URL %q that no CA vouches for", t0.JWKS.Text)
			}
		}
	})
}
