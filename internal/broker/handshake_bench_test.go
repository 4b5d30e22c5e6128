package broker

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/impostor"
	"holdfast/internal/attest/tpm/verify"
)

// A softTPM gives the evidence of a TPM from keys in memory, with a certificate
// that the benchmark's verifier trusts, so that the broker's side is what is
// measured. It knows the secret without activating a credential, because that
// verifier's randomness is zeros.
type softTPM struct {
	caKey *rsa.PrivateKey
	ek    *rsa.PrivateKey
	offer api.ActivationOffer
	ak    *impostor.Key
	ca    *x509.Certificate
	cert  *x509.Certificate
	value api.TPMEvidence
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func newSoftTPM(t testing.TB) *softTPM {
	caKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	s := &softTPM{caKey: caKey, ca: certify(t, ca, ca, caKey.Public(), caKey)}
	ek, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	s.ek = ek
	public := tpm2.RSAEKTemplate
	public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: ek.N.Bytes()})
	s.ak, err = impostor.NewKey()
	check(t, err)
	s.offer = api.ActivationOffer{EKPublic: tpm2.Marshal(public), AKPublic: tpm2.Marshal(s.ak.Public())}
	s.value.Quote = api.TPMQuote{PCRs: pcrValues(), Message: base64.StdEncoding.EncodeToString(tpm2.Marshal(tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote, Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{})}))}
	s.another(t)
	return s
}

// another makes it another TPM to who knows certificates: nothing that a
// verifier remembers of the one before helps.
func (s *softTPM) another(t testing.TB) {
	s.cert = certify(t, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: s.ca.NotBefore, NotAfter: s.ca.NotAfter,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}}, s.ca, s.ek.Public(), s.caKey)
	s.offer.EKCertificate = s.cert.Raw
}

func certify(t testing.TB, template, parent *x509.Certificate, key any, by crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return cert
}

// pcrValues are those of a machine that guestValues trusts, with initDataBody.
func pcrValues() []string {
	values := slices.Repeat([]string{zeroPCR}, 24)
	values[4], values[7], values[11] = pcr("4"), pcr("7"), pcr("b")
	sum := sha256.Sum256([]byte(initDataBody))
	pcr8 := sha256.Sum256(append(make([]byte, 32), sum[:]...))
	values[8] = fmt.Sprintf("%x", pcr8)
	return values
}

func (s *softTPM) verifier(t testing.TB) attest.Verifier {
	v, err := verify.New(verify.Config{Roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.ca.Raw}), Rand: zeros{}})
	check(t, err)
	return v
}

// shake makes a handshake and returns the time that the broker took for it,
// and the cookie.
func (s *softTPM) shake(t testing.TB, b *Broker, key json.RawMessage) (time.Duration, *http.Cookie) {
	request, err := json.Marshal(map[string]any{"version": "0.4.0", "tee": "tpm", "extra-params": api.RequestParams{Activation: &s.offer}})
	check(t, err)
	spent, w := timed(b, httptest.NewRequest("POST", "/kbs/v0/auth", bytes.NewReader(request)))
	var c api.KBSChallenge
	check(t, json.Unmarshal(w.Body.Bytes(), &c))
	data := api.RuntimeData{Nonce: c.Nonce, TEEPubKey: key}
	digest, err := attest.RuntimeDigest(data, "")
	check(t, err)
	e := s.value
	check(t, s.ak.Quote(&e, digest[:32]))
	e.ActivationHMAC = tpm.ActivationMAC(make([]byte, 32), digest)
	evidence, err := json.Marshal(e)
	check(t, err)
	body, err := json.Marshal(api.KBSAttestation{RuntimeData: data, TEEEvidence: api.CompositeEvidence{Primary: evidence}, InitData: &api.InitDataMessage{Format: "toml", Body: initDataBody}})
	check(t, err)
	r := httptest.NewRequest("POST", "/kbs/v0/attest", bytes.NewReader(body))
	r.AddCookie(w.Result().Cookies()[0])
	more, w := timed(b, r)
	if w.Code != http.StatusOK {
		t.Fatalf("attest: %d %s", w.Code, w.Body)
	}
	return spent + more, w.Result().Cookies()[0]
}

func timed(b *Broker, r *http.Request) (time.Duration, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	start, used := time.Now(), processorTime()
	b.ServeHTTP(w, r)
	computed.Add(int64(processorTime() - used))
	return time.Since(start), w
}

// computed is what the requests of one client after the other took of
// processors: others on the machine change it less than they change times.
var computed atomic.Int64

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured is a broker without bounds on rates, whose state is in memory where
// that can be: the disk is measured elsewhere.
func measured(t testing.TB, s *softTPM) *bench {
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-bench-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	none := Rate{Every: -1}
	b := newBench(t, func(c *Config) {
		c.Dir, c.Verifiers, c.Limits = dir, []attest.Verifier{s.verifier(t)}, Limits{none, none, none, 1 << 20}
		c.MaxSessions = 1 << 20
	})
	b.furnish()
	return b
}

// The floor: what the signatures in one handshake cost, by any program.
func BenchmarkHandshakeFloor(b *testing.B) {
	s := newSoftTPM(b)
	ak, err := rsa.GenerateKey(rand.Reader, 2048)
	check(b, err)
	sum := sha256.Sum256([]byte("quote"))
	quote, err := rsa.SignPKCS1v15(nil, ak, crypto.SHA256, sum[:])
	check(b, err)
	token := newKey(b)
	machine, err := ecdh.P256().GenerateKey(rand.Reader)
	check(b, err)
	used := processorTime()
	for b.Loop() {
		check(b, rsa.VerifyPKCS1v15(&ak.PublicKey, crypto.SHA256, sum[:], quote)) // RSA-2048
		check(b, s.cert.CheckSignatureFrom(s.ca))                                 // a chain of one, RSA-2048
		own, err := ecdh.P256().GenerateKey(rand.Reader)
		check(b, err)
		if _, err := own.ECDH(machine.PublicKey()); err != nil {
			b.Fatal(err)
		}
		if _, err := ecdsa.SignASN1(rand.Reader, token, sum[:]); err != nil { // P-256
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/(processorTime()-used).Seconds(), "1/s/core")
}

// Machines that were never seen before, and one that comes again.
func BenchmarkHandshake(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%t", known), func(b *testing.B) {
			s := newSoftTPM(b)
			broker := measured(b, s)
			_, key := ecJWK(b, newKey(b).Curve, "P-256")
			var spent []time.Duration
			computed.Store(0)
			for b.Loop() {
				if !known {
					s.another(b)
				}
				one, _ := s.shake(b, broker.Broker, key)
				spent = append(spent, one)
			}
			report(b, spent)
			perCore(b, len(spent))
		})
	}
}

func perCore(b *testing.B, n int) {
	b.ReportMetric(float64(n)/(float64(computed.Load())/1e9), "1/s/core")
}

// report tells what the broker alone took.
func report(b *testing.B, spent []time.Duration) {
	slices.SortFunc(spent, cmp.Compare)
	at := func(p float64) float64 { return float64(spent[int(p*float64(len(spent)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
}

// The clients' work, mostly signing, takes the same processors.
func BenchmarkHandshakeClients(b *testing.B) {
	for _, clients := range []int{1, 16, 200} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			s := newSoftTPM(b)
			broker := measured(b, s)
			_, key := ecJWK(b, newKey(b).Curve, "P-256")
			b.ResetTimer()
			var spent []time.Duration
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for range max(1, b.N/clients) {
						one, _ := s.shake(b, broker.Broker, key)
						mu.Lock()
						spent = append(spent, one)
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(len(spent))/b.Elapsed().Seconds(), "handshakes/s")
			report(b, spent)
		})
	}
}

func BenchmarkResourceGet(b *testing.B) {
	s := newSoftTPM(b)
	broker := measured(b, s)
	_, key := ecJWK(b, newKey(b).Curve, "P-256")
	_, cookie := s.shake(b, broker.Broker, key)
	var spent []time.Duration
	computed.Store(0)
	for b.Loop() {
		r := httptest.NewRequest("GET", thePath, strings.NewReader(""))
		r.AddCookie(cookie)
		one, w := timed(broker.Broker, r)
		if w.Code != http.StatusOK {
			b.Fatalf("got %d %s", w.Code, w.Body)
		}
		spent = append(spent, one)
	}
	report(b, spent)
	perCore(b, len(spent))
}
