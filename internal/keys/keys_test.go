package keys

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/sign"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func newRing(t *testing.T) *Ring {
	t.Helper()
	r, err := Init(context.Background(), filepath.Join(t.TempDir(), "keys"), now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRootCertifiesEveryKeyAndOnlyTheOwnerReadsThem(t *testing.T) {
	r := newRing(t)
	for _, k := range kinds {
		opts := x509.VerifyOptions{Roots: r.RootPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		if _, err := r.Pair(k.name).Certificate.Verify(opts); err != nil {
			t.Errorf("%s: %v", k.name, err)
		}
		info, err := os.Stat(filepath.Join(r.Dir(), k.name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s.key: got mode %o, want 600", k.name, got)
		}
	}
}

func TestOpensslAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing: apt-get install openssl")
	}
	r := newRing(t)
	for _, k := range kinds {
		out, err := exec.Command(openssl, "verify", "-no_check_time", "-CAfile", filepath.Join(r.Dir(), "root.crt"),
			filepath.Join(r.Dir(), k.name+".crt")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %s", k.name, out)
		}
	}
}

func TestInitNeverReplacesKeys(t *testing.T) {
	r := newRing(t)
	if _, err := Init(context.Background(), r.Dir(), now); !errors.Is(err, ErrExist) {
		t.Fatalf("got %v, want ErrExist", err)
	}
	again, made, err := OpenOrInit(context.Background(), r.Dir(), now)
	if err != nil || made {
		t.Fatalf("got made %v, error %v; want the same ring", made, err)
	}
	if !again.Pair(Root).Certificate.Equal(r.Pair(Root).Certificate) {
		t.Fatal("the root changed")
	}
}

func TestAForeignKeyFileIsNoticed(t *testing.T) {
	r, other := newRing(t), newRing(t)
	raw, err := os.ReadFile(filepath.Join(other.Dir(), "db.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.Dir(), "db.key"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), r.Dir(), now); err == nil {
		t.Fatal("a key that is not its certificate's was accepted")
	}
}

func TestServerCertificateHoldsForItsHostsOnly(t *testing.T) {
	r := newRing(t)
	cert, err := r.Server(now, "10.0.2.2", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(r.CertificatePEM(TLS))
	for host, want := range map[string]bool{"10.0.2.2": true, "localhost": true, "10.0.2.3": false} {
		err := handshake(cert, &tls.Config{RootCAs: pool, ServerName: host, Time: func() time.Time { return now }})
		if (err == nil) != want {
			t.Errorf("%s: got %v, want success %v", host, err, want)
		}
	}
}

func handshake(cert tls.Certificate, client *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { _ = tls.Server(a, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake() }()
	return tls.Client(b, client).Handshake()
}

func TestStatementsOpenWithTheRootOnly(t *testing.T) {
	r, other := newRing(t), newRing(t)
	st, err := sign.NewStatement("urn:test", map[string]int{"a": 1}, sign.Subject{Name: "x", Digest: map[string]string{"sha256": "00"}})
	if err != nil {
		t.Fatal(err)
	}
	env, err := sign.Seal(st, r.Statements())
	if err != nil {
		t.Fatal(err)
	}
	if _, cert, err := sign.Open(env, r.RootPool(), now); err != nil || !cert.Equal(r.Pair(Image).Certificate) {
		t.Fatalf("got %v, want the image key's statement", err)
	}
	if _, _, err := sign.Open(env, other.RootPool(), now); !errors.Is(err, sign.ErrUntrusted) {
		t.Fatalf("another root: got %v, want ErrUntrusted", err)
	}
	env.Payload[10] ^= 1
	if _, _, err := sign.Open(env, r.RootPool(), now); !errors.Is(err, sign.ErrUntrusted) {
		t.Fatalf("changed payload: got %v, want ErrUntrusted", err)
	}
}

func TestKeysThatAKilledProcessLeftAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir+".new", "root.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*"))
	if err != nil || len(left) != 2 { // the keys and their lock
		t.Errorf("got %v and %v, want the keys and their lock", left, err)
	}
}

func TestAFolderThatIsOlderThanAKeyGetsIt(t *testing.T) {
	r := newRing(t)
	for _, ext := range []string{".key", ".crt"} {
		if err := os.Remove(filepath.Join(r.Dir(), Broker+ext)); err != nil {
			t.Fatal(err)
		}
	}
	first, err := Open(t.Context(), r.Dir(), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Open(t.Context(), r.Dir(), now)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := first.Pair(Broker).Certificate, second.Pair(Broker).Certificate; !a.Equal(b) || a.Equal(r.Pair(Broker).Certificate) {
		t.Error("the new key is not the one that is read from then on")
	}
	if a, b := first.Pair(Token).Certificate, r.Pair(Token).Certificate; !a.Equal(b) {
		t.Error("a key that was there was replaced")
	}
	if err := os.Remove(filepath.Join(r.Dir(), Broker+".crt")); err != nil { // killed between the two files
		t.Fatal(err)
	}
	if third, err := Open(t.Context(), r.Dir(), now); err != nil || third.Pair(Broker).Certificate == nil {
		t.Errorf("after a killed process: %v", err)
	}
	if err := os.Remove(filepath.Join(r.Dir(), Token+".crt")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), r.Dir(), now); err == nil {
		t.Error("a key that every folder has was lost, and replaced silently")
	}
}

func TestKeysForProofsAndForImagesAreApart(t *testing.T) {
	r := newRing(t)
	st, err := sign.NewStatement("urn:test", map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signer          sign.Signer
		image, document bool
	}{"image": {r.Statements(), true, false}, "broker": {r.Releases(), false, true}} {
		env, err := sign.Seal(st, c.signer)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := sign.Open(env, r.RootPool(), now); (err == nil) != c.image {
			t.Errorf("%s: as a statement about an image: %v", name, err)
		}
		if _, _, err := sign.OpenDocument(env, r.RootPool(), now); (err == nil) != c.document {
			t.Errorf("%s: as a document: %v", name, err)
		}
	}
}
