package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/hsm"
	"holdfast/internal/hsm/hsmtest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const domain = "machines.example.org"

func newFolder(t testing.TB, now func() time.Time) *Folder {
	f, err := New(Config{Dir: filepath.Join(t.TempDir(), "ca"), Now: now})
	check(t, err)
	_, err = f.Rotate(t.Context(), Rotation{Domain: domain})
	check(t, err)
	return f
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func parse(t testing.TB, i *Issued) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(i.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	check(t, err)
	return cert
}

func pool(bundle []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(bundle)
	return p
}

func verify(cert *x509.Certificate, bundle []byte, at time.Time) error {
	_, err := cert.Verify(x509.VerifyOptions{Roots: pool(bundle), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

func TestACertificateIsAnSVID(t *testing.T) {
	f := newFolder(t, nil)
	key := newKey(t)
	issued, err := f.Issue(t.Context(), "default/workload/web", key.Public())
	check(t, err)
	cert := parse(t, issued)
	check(t, verify(cert, []byte(issued.Bundle), time.Now()))
	if !key.PublicKey.Equal(cert.PublicKey) {
		t.Error("it is for another key")
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != "spiffe://machines.example.org/default/workload/web" || issued.ID != cert.URIs[0].String() {
		t.Errorf("got URIs %v, ID %s", cert.URIs, issued.ID)
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 {
		t.Errorf("got CA %v, usage %v, names %v", cert.IsCA, cert.KeyUsage, cert.DNSNames)
	}
	if life := time.Until(cert.NotAfter); life > Life || life < Life-time.Minute || !cert.NotAfter.Equal(issued.Expires) {
		t.Errorf("it is good for %v", life)
	}
	again, err := f.Issue(t.Context(), "default/workload/web", key.Public())
	check(t, err)
	if other := parse(t, again); other.SerialNumber.Cmp(cert.SerialNumber) == 0 || cert.SerialNumber.BitLen() > 128 || cert.SerialNumber.BitLen() < 64 {
		t.Errorf("got serial numbers %x and %x", cert.SerialNumber, other.SerialNumber)
	}
}

func TestAnAuthoritySaysHowLongItsCertificatesAreGood(t *testing.T) {
	f := newFolder(t, nil)
	for _, life := range []time.Duration{time.Second, 25 * time.Hour, -time.Minute} {
		if _, err := f.Rotate(t.Context(), Rotation{AtOnce: true, Life: life}); err == nil || !strings.Contains(err.Error(), "want 1m0s to 24h0m0s") {
			t.Errorf("%v: got %v", life, err)
		}
	}
	f.now = func() time.Time { return time.Now().Add(5 * time.Second) } // behind the one that is there
	_, err := f.Rotate(t.Context(), Rotation{AtOnce: true, Life: 2 * time.Minute})
	check(t, err)
	issued, err := f.Issue(t.Context(), "default/workload/web", newKey(t).Public())
	check(t, err)
	if left := issued.Expires.Sub(f.now()); left > 2*time.Minute || left < time.Minute {
		t.Errorf("it is good for %v, want two minutes", left)
	}
}

func TestOpenSSLVerifiesCertificates(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed: apt-get install openssl")
	}
	f := newFolder(t, nil)
	issued, err := f.Issue(t.Context(), "default/workload/web", newKey(t).Public())
	check(t, err)
	dir := t.TempDir()
	leaf, bundle := filepath.Join(dir, "leaf.pem"), filepath.Join(dir, "bundle.pem")
	check(t, os.WriteFile(leaf, []byte(issued.Certificate), 0o600))
	check(t, os.WriteFile(bundle, []byte(issued.Bundle), 0o600))
	openssl := func(args ...string) string {
		out, err := exec.Command("openssl", args...).CombinedOutput()
		if err != nil {
			t.Errorf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", bundle, leaf)
	openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", bundle, leaf)
	text := openssl("x509", "-in", leaf, "-noout", "-text")
	for _, want := range []string{"URI:spiffe://machines.example.org/default/workload/web", "CA:FALSE", "Digital Signature"} {
		if !strings.Contains(text, want) {
			t.Errorf("openssl shows no %q in\n%s", want, text)
		}
	}
}

// The authority's name constraint keeps it to its own trust domain.
func TestAnAuthorityCannotSpeakForAnotherDomain(t *testing.T) {
	f := newFolder(t, nil)
	all, err := f.read(t.Context())
	check(t, err)
	signer, err := f.signer(t.Context(), &all.list[0])
	check(t, err)
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, leaf("bank.example.com", "teller", time.Now(), Life), all.list[0].cert, key.Public(), signer)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	if err := verify(cert, all.bundle(time.Now()), time.Now()); err == nil {
		t.Error("a certificate for another domain verifies")
	}
}

func TestARequestGetsItsOwnNameOrNone(t *testing.T) {
	const id = "spiffe://" + domain + "/default/workload/web"
	right, _ := url.Parse(id)
	wrong, _ := url.Parse("spiffe://" + domain + "/default/workload/bank")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil { // this Go makes none
		weak = nil
	}
	for name, test := range map[string]struct {
		template x509.CertificateRequest
		key      crypto.Signer
		edit     func([]byte) []byte
		want     string
	}{
		"no name":         {key: newKey(t)},
		"its own":         {template: x509.CertificateRequest{URIs: []*url.URL{right}}, key: newKey(t)},
		"in PEM":          {key: newKey(t), edit: func(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: b}) }},
		"another's":       {template: x509.CertificateRequest{URIs: []*url.URL{wrong}}, key: newKey(t), want: "it asks for"},
		"a host's":        {template: x509.CertificateRequest{DNSNames: []string{"bank.example.com"}}, key: newKey(t), want: "no SPIFFE ID"},
		"broken":          {key: newKey(t), edit: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, want: "not signed by its own key"},
		"no request":      {key: newKey(t), edit: func([]byte) []byte { return []byte("hello") }, want: "certificate request: "},
		"another's block": {key: newKey(t), edit: func(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b}) }, want: "want one PEM block"},
		"a weak key":      {key: weak, want: "is not certified"},
	} {
		if test.key == (*rsa.PrivateKey)(nil) {
			continue
		}
		raw, err := x509.CreateCertificateRequest(rand.Reader, &test.template, test.key)
		check(t, err)
		if test.edit != nil {
			raw = test.edit(raw)
		}
		key, err := ParseRequest(raw, id)
		if test.want != "" {
			if !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want ErrRequest with %q", name, err, test.want)
			}
			continue
		}
		if err != nil || !test.key.Public().(*ecdsa.PublicKey).Equal(key) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, public, _ := ed25519.GenerateKey(rand.Reader)
	check(t, checkKey(public.Public()))
}

// Machines ask all the time while authorities are replaced. What they are given
// verifies at once by every bundle that is not older than its refresh hint, and
// until it expires.
func TestAuthoritiesRotateUnderLoad(t *testing.T) {
	var clock atomic.Int64
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(clock.Load())) }
	f := newFolder(t, now)
	type held struct {
		at     time.Time
		bundle []byte
	}
	var mu sync.Mutex
	var bundles []held
	var certs []*x509.Certificate
	made := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(certs)
	}
	var work sync.WaitGroup
	var stop atomic.Bool
	for range 3 {
		work.Go(func() {
			reader, err := New(Config{Dir: f.dir, Now: now}) // another process
			if err != nil {
				t.Error(err)
				return
			}
			key := newKey(t)
			for !stop.Load() {
				issued, err := reader.Issue(context.Background(), "default/workload/web", key.Public())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				certs = append(certs, parse(t, issued))
				mu.Unlock()
			}
		})
	}
	for range 4 {
		_, err := f.Rotate(t.Context(), Rotation{})
		check(t, err)
		for range 20 {
			clock.Add(int64(RefreshHint))
			bundle, err := f.PEM(t.Context())
			check(t, err)
			bundles = append(bundles, held{now(), bundle})
			before := made()
			for end := time.Now().Add(20 * time.Second); made() < before+2 && !t.Failed() && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		}
	}
	stop.Store(true)
	work.Wait()
	issuers := map[string]bool{}
	for n, cert := range certs {
		if seen := string(cert.AuthorityKeyId); issuers[seen] && n%50 > 0 {
			continue
		} else {
			issuers[seen] = true
		}
		for _, b := range bundles {
			if b.at.Add(RefreshHint).Before(cert.NotBefore.Add(skew)) || b.at.After(cert.NotAfter) {
				continue
			}
			if at := maxTime(b.at, cert.NotBefore); verify(cert, b.bundle, at) != nil {
				t.Fatalf("a certificate from %v does not verify by the bundle of %v", cert.NotBefore.Add(skew), b.at)
			}
		}
	}
	if len(certs) < 100 || len(issuers) < 4 {
		t.Errorf("only %d certificates of %d authorities were made: this shows little", len(certs), len(issuers))
	}
	all, err := f.read(t.Context())
	check(t, err)
	if left := len(all.vouching(now().Add(24 * time.Hour))); len(all.list) != 5 || left != 1 {
		t.Errorf("of %d authorities %d are still in the bundle a day later, want 1 of 5", len(all.list), left)
	}
}

// A machine has the bundle that came with its certificate until it renews that.
func TestMachinesKnowANewAuthorityBeforeItSigns(t *testing.T) {
	for _, life := range []time.Duration{MinLife, Life, MaxLife} {
		at := time.Now()
		f := newFolder(t, func() time.Time { return at })
		at = at.Add(time.Second)
		_, err := f.Rotate(t.Context(), Rotation{AtOnce: true, Life: life})
		check(t, err)
		held, err := f.Issue(t.Context(), "default/workload/web", newKey(t).Public())
		check(t, err)
		made, err := f.Rotate(t.Context(), Rotation{})
		check(t, err)
		at = at.Add(life/2 + RefreshHint) // it renews now, and the first time failed
		other, err := f.Issue(t.Context(), "default/workload/db", newKey(t).Public())
		check(t, err)
		if err := verify(parse(t, other), []byte(held.Bundle), at); err != nil {
			t.Errorf("certificates of %v: %v", life, err)
		}
		at = made.Active
		other, err = f.Issue(t.Context(), "default/workload/db", newKey(t).Public())
		check(t, err)
		if verify(parse(t, other), []byte(held.Bundle), at) == nil {
			t.Errorf("certificates of %v: the next authority does not sign at %v", life, at)
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

type inHSM struct{ *hsm.Client }

func (h inHSM) Generate(ctx context.Context, label string) error {
	return h.Client.Generate(ctx, label, hsm.P256)
}
func (h inHSM) Signer(ctx context.Context, label string) (crypto.Signer, error) {
	return h.Key(ctx, label)
}

func TestAnAuthorityMayLiveInAnHSM(t *testing.T) {
	client := hsmtest.New(t)
	dir := filepath.Join(t.TempDir(), "ca")
	f, err := New(Config{Dir: dir, HSM: inHSM{client}})
	check(t, err)
	made, err := f.Rotate(t.Context(), Rotation{Domain: domain, InHSM: true})
	check(t, err)
	issued, err := f.Issue(t.Context(), "default/workload/web", newKey(t).Public())
	check(t, err)
	check(t, verify(parse(t, issued), []byte(issued.Bundle), time.Now()))
	check(t, client.Kept(t.Context(), made.HSM))
	raw, err := os.ReadFile(filepath.Join(dir, made.ID+".json"))
	check(t, err)
	if strings.Contains(string(raw), `"key"`) {
		t.Errorf("the record holds a key: %s", raw)
	}
	without, err := New(Config{Dir: dir})
	check(t, err)
	if _, err := without.Issue(t.Context(), "a/b/c", newKey(t).Public()); err == nil || !strings.Contains(err.Error(), "its key is in an HSM") {
		t.Errorf("without the HSM: got %v", err)
	}
}

func TestWithoutAnAuthorityNothingIsCertified(t *testing.T) {
	f, err := New(Config{Dir: filepath.Join(t.TempDir(), "ca")})
	check(t, err)
	if _, err := f.Issue(t.Context(), "a/b/c", newKey(t).Public()); !errors.Is(err, ErrNone) {
		t.Errorf("got %v, want ErrNone", err)
	}
	for _, bad := range []string{"", "Example.org", "a b", "a/b", ".org"} {
		if _, err := f.Rotate(t.Context(), Rotation{Domain: bad}); err == nil {
			t.Errorf("trust domain %q was accepted", bad)
		}
	}
}

func TestTheBundleIsOneThatSPIFFEProgramsRead(t *testing.T) {
	f := newFolder(t, nil)
	raw, err := f.Bundle(t.Context())
	check(t, err)
	var set struct {
		jose.JSONWebKeySet
		Sequence uint64 `json:"spiffe_sequence"`
		Refresh  int    `json:"spiffe_refresh_hint"`
	}
	check(t, json.Unmarshal(raw, &set))
	if len(set.Keys) != 1 || set.Keys[0].Use != "x509-svid" || len(set.Keys[0].Certificates) != 1 || set.Refresh != 300 {
		t.Errorf("got %s", raw)
	}
}

// A request is refused as one, or its key is one that may be certified.
//
//fuzz:parser ca.go:ParseRequest,checkKey
func FuzzRequest(f *testing.F) {
	raw, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(f))
	check(f, err)
	f.Add(raw)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: raw}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParseRequest(data, "spiffe://a/b")
		if err != nil && !errors.Is(err, ErrRequest) || err == nil && checkKey(key) != nil {
			t.Errorf("got key %T, %v", key, err)
		}
	})
}

func BenchmarkIssue(b *testing.B) {
	f := newFolder(b, nil)
	key := newKey(b).Public()
	for b.Loop() {
		if _, err := f.Issue(b.Context(), "default/workload/web", key); err != nil {
			b.Fatal(err)
		}
	}
}
