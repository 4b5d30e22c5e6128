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
	"runtime"
	"runtime/debug"
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

func newSoftTPM(t testing.TB, newKey func() (*impostor.Key, error)) *softTPM {
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
	s.ak, err = newKey()
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

// A shaking is a handshake under way: what its machine sends, and is answered.
type shaking struct {
	s       *softTPM
	key     json.RawMessage
	cookie  *http.Cookie
	request *http.Request
	answer  answer
	spent   time.Duration // in the broker
}

// An answer is what the transport under a broker takes.
type answer struct {
	header http.Header
	code   int
	body   []byte
}

func (a *answer) Header() http.Header  { return a.header }
func (a *answer) WriteHeader(code int) { a.code = code }

func (a *answer) Write(p []byte) (int, error) {
	a.body = append(a.body, p...)
	return len(p), nil
}

// ask makes the next request; what its answer takes of memory is not the
// broker's.
func (h *shaking) ask(t testing.TB, path string, body any, room int) {
	text, err := json.Marshal(body)
	check(t, err)
	h.request = httptest.NewRequest("POST", path, bytes.NewReader(text))
	if h.cookie != nil {
		h.request.AddCookie(h.cookie)
	}
	taken := make([]byte, room)
	for i := range taken { // its pages are there before the broker writes to them
		taken[i] = ' '
	}
	h.answer = answer{header: http.Header{}, body: taken[:0]}
}

// told checks the answer, and takes the cookie.
func (h *shaking) told(t testing.TB) {
	if h.answer.code != http.StatusOK {
		t.Fatalf("%s: %d %s", h.request.URL, h.answer.code, h.answer.body)
	}
	h.cookie = (&http.Response{Header: h.answer.header}).Cookies()[0]
}

func (h *shaking) begin(t testing.TB) {
	h.ask(t, "/kbs/v0/auth", map[string]any{"version": "0.4.0", "tee": "tpm", "extra-params": api.RequestParams{Activation: &h.s.offer}}, 2<<10)
}

// quote is the machine's part.
func (h *shaking) quote(t testing.TB) {
	h.told(t)
	var c api.KBSChallenge
	check(t, json.Unmarshal(h.answer.body, &c))
	data := api.RuntimeData{Nonce: c.Nonce, TEEPubKey: h.key}
	digest, err := attest.RuntimeDigest(data, "")
	check(t, err)
	e := h.s.value
	check(t, h.s.ak.Quote(&e, digest[:32]))
	e.ActivationHMAC = tpm.ActivationMAC(make([]byte, 32), digest)
	evidence, err := json.Marshal(e)
	check(t, err)
	h.ask(t, "/kbs/v0/attest", api.KBSAttestation{RuntimeData: data, TEEEvidence: api.CompositeEvidence{Primary: evidence}, InitData: &api.InitDataMessage{Format: "toml", Body: initDataBody}}, 12<<10)
}

// serve is the broker's part, and all that is measured.
func (h *shaking) serve(b *Broker) {
	start := time.Now()
	b.ServeHTTP(&h.answer, h.request)
	h.spent += time.Since(start)
}

// computed is what requests took of processors: others on the machine change
// it less than they change times.
var computed atomic.Int64

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured is a broker without bounds on rates, whose state is in memory where
// that can be: the disk is measured elsewhere.
func measured(t testing.TB, s *softTPM, proves bool) *bench {
	before, limit := debug.SetGCPercent(GCPercent), debug.SetMemoryLimit(MemoryLimit) // as "holdfast serve" does
	t.Cleanup(func() { debug.SetGCPercent(before); debug.SetMemoryLimit(limit) })
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-bench-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	none := Rate{Every: -1}
	ring, prove := proving(t)
	b := newBench(t, func(c *Config) {
		if proves {
			prove(c)
		}
		c.Dir, c.Verifiers, c.Limits = dir, []attest.Verifier{s.verifier(t)}, Limits{none, none, none, 1 << 20}
		c.MaxSessions = 1 << 20
	})
	if !proves {
		b.furnish()
		return b
	}
	check(t, b.admin.Trust(t.Context(), signedReference(t, ring, guestValues)))
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, b.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	return b
}

// A floor is what the signatures in one handshake cost, by any program: a
// quote of RSA-2048 or P-256 verified, the endorsement's chain (of one RSA-2048 signature,
// the shortest that there is), one ECDH on P-256 with its ephemeral key, and a
// token signed on P-256.
type floor struct {
	ak         crypto.PublicKey
	token      *ecdsa.PrivateKey
	machine    *ecdh.PrivateKey
	sum, quote []byte
}

func newFloor(t testing.TB, algorithm tpm.Algorithm) *floor {
	var ak crypto.Signer = newKey(t)
	if algorithm == tpm.RSA {
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		check(t, err)
		ak = rsaKey
	}
	machine, err := ecdh.P256().GenerateKey(rand.Reader)
	check(t, err)
	sum := sha256.Sum256([]byte("quote"))
	quote, err := ak.Sign(rand.Reader, sum[:], crypto.SHA256)
	check(t, err)
	return &floor{ak.Public(), newKey(t), machine, sum[:], quote}
}

func (f *floor) once(t testing.TB, s *softTPM) {
	check(t, s.cert.CheckSignatureFrom(s.ca))
	f.withoutChain(t)
}

func (f *floor) withoutChain(t testing.TB) {
	switch ak := f.ak.(type) {
	case *rsa.PublicKey:
		check(t, rsa.VerifyPKCS1v15(ak, crypto.SHA256, f.sum, f.quote))
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(ak, f.sum, f.quote) {
			t.Fatal("the floor's quote does not verify")
		}
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	check(t, err)
	if _, err := own.ECDH(f.machine.PublicKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := ecdsa.SignASN1(rand.Reader, f.token, f.sum); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkHandshakeFloor(b *testing.B) {
	s, f := newSoftTPM(b, impostor.NewKey), newFloor(b, tpm.RSA)
	used := processorTime()
	for b.Loop() {
		f.once(b, s)
	}
	b.ReportMetric(float64(b.N)/(processorTime()-used).Seconds(), "1/s/core")
}

// Machines that were never seen before, and one that comes again; so many at
// once. Only what the broker computes counts: it is called as a server would
// call it, with requests that were made before, and without a network.
func BenchmarkHandshake(b *testing.B) {
	for _, proves := range []bool{true, false} {
		for _, known := range []bool{false, true} {
			for _, clients := range []int{1, 16, 200} {
				b.Run(fmt.Sprintf("proves=%t/known=%t/clients=%d", proves, known, clients), func(b *testing.B) {
					handshakes(b, newSoftTPM(b, impostor.NewKey), newFloor(b, tpm.RSA), proves, known, clients)
				})
			}
		}
	}
}

// The same of TPMs whose quotes are signed on P-256.
func BenchmarkHandshakeP256(b *testing.B) {
	for _, known := range []bool{false, true} {
		for _, clients := range []int{1, 16, 200} {
			b.Run(fmt.Sprintf("known=%t/clients=%d", known, clients), func(b *testing.B) {
				handshakes(b, newSoftTPM(b, impostor.NewP256Key), newFloor(b, tpm.P256), true, known, clients)
			})
		}
	}
}

func handshakes(b *testing.B, s *softTPM, floor *floor, proves, known bool, clients int) {
	broker := measured(b, s, proves)
	_, key := ecJWK(b, newKey(b).Curve, "P-256")
	least, chainless := time.Duration(0), time.Duration(0)
	round := func() []time.Duration {
		all := make([]shaking, wave)
		least += atOnce(all, clients, func(*shaking) { floor.once(b, s) })
		chainless += atOnce(all, clients, func(*shaking) { floor.withoutChain(b) })
		for i := range all {
			one := *s
			if !known {
				one.another(b)
			}
			all[i] = shaking{s: &one, key: key}
		}
		return shake(b, broker.Broker, all, clients)
	}
	round()
	var spent []time.Duration
	least, chainless = 0, 0
	computed.Store(0)
	for b.Loop() {
		for range waves {
			spent = append(spent, round()...)
		}
	}
	report(b, spent)
	perCore(b, len(spent))
	b.ReportMetric(float64(len(spent))/least.Seconds(), "floor-1/s/core")
	b.ReportMetric(float64(computed.Load())/float64(least), "over-floor")
	if known { // whose chain need not be checked again
		b.ReportMetric(float64(computed.Load())/float64(chainless), "over-chainless-floor")
	}
}

// Handshakes in a wave, of all clients together, and waves in one iteration.
const (
	wave  = 400
	waves = 4
)

// shake makes handshakes, as many at once as there are clients.
func shake(b *testing.B, broker *Broker, all []shaking, clients int) (spent []time.Duration) {
	for i := range all {
		all[i].begin(b)
	}
	computed.Add(int64(atOnce(all, clients, func(h *shaking) { h.serve(broker) })))
	for i := range all {
		all[i].quote(b)
	}
	computed.Add(int64(atOnce(all, clients, func(h *shaking) { h.serve(broker) })))
	computed.Add(int64(atOnce(all[:1], 1, func(*shaking) { // what is written behind counts too
		_, err := broker.state.Decisions(b.Context(), 1<<62, 1)
		check(b, err)
	})))
	for i := range all {
		all[i].told(b)
		spent = append(spent, all[i].spent)
	}
	return spent
}

// atOnce does all, so many at once, and returns what they took of processors,
// with the collection of their garbage, but not of what was there before.
func atOnce[T any](all []T, clients int, do func(*T)) time.Duration {
	runtime.GC()
	used := processorTime()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < len(all); i += clients {
				do(&all[i])
			}
		})
	}
	wg.Wait()
	return processorTime() - used
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

func BenchmarkResourceGet(b *testing.B) {
	for _, proves := range []bool{true, false} {
		for _, clients := range []int{1, 16, 200} {
			b.Run(fmt.Sprintf("proves=%t/clients=%d", proves, clients), func(b *testing.B) {
				s := newSoftTPM(b, impostor.NewKey)
				broker := measured(b, s, proves)
				_, key := ecJWK(b, newKey(b).Curve, "P-256")
				machine := []shaking{{s: s, key: key}}
				shake(b, broker.Broker, machine, 1)
				var spent []time.Duration
				computed.Store(0)
				for b.Loop() {
					for range waves {
						all := make([]shaking, wave)
						for i := range all {
							all[i] = shaking{cookie: machine[0].cookie, request: httptest.NewRequest("GET", thePath, strings.NewReader("")), answer: answer{header: http.Header{}}}
							all[i].request.AddCookie(machine[0].cookie)
						}
						computed.Add(int64(atOnce(all, clients, func(h *shaking) { h.serve(broker.Broker) })))
						for i := range all {
							if a := all[i].answer; a.code != http.StatusOK {
								b.Fatalf("got %d %s", a.code, a.body)
							}
							spent = append(spent, all[i].spent)
						}
					}
				}
				report(b, spent)
				perCore(b, len(spent))
			})
		}
	}
}

// What another process changes has its effect after this.
func BenchmarkPolicyChange(b *testing.B) {
	broker := newBench(b, nil)
	broker.furnish()
	other := openTestState(b, broker.cfg.Dir, broker.cfg.Now)
	var all []time.Duration
	for b.Loop() {
		for range waves {
			version, err := other.SetDocument(b.Context(), api.Version{Kind: api.PolicyKind, Name: attestationPolicy, Time: broker.now.Now(), Content: []byte(shipped[attestationPolicy])})
			check(b, err)
			start := time.Now()
			for held := int64(0); held != version; time.Sleep(time.Millisecond) {
				rules, err := broker.rules(b.Context())
				check(b, err)
				held = rules.policies[attestationPolicy].version
			}
			all = append(all, time.Since(start))
		}
	}
	report(b, all)
}
