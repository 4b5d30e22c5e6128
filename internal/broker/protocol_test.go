package broker

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// A lab has TPMs of two makers, of whom the broker trusts one, and speaks to
// the broker as machines do: with package kbc.
type lab struct {
	*bench
	dir string
	on  map[string]func() // turns a TPM off
}

// The TPMs of a lab.
const (
	goodTPM    = "tpm-a"
	otherTPM   = "tpm-b"
	foreignTPM = "tpm-c" // by the maker whom nobody trusts
)

func newLab(t *testing.T) *lab {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./internal/broker", err)
	}
	dir := t.TempDir()
	for name, ca := range map[string]string{goodTPM: "ca", otherTPM: "ca", foreignTPM: "ca-foreign"} {
		check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: filepath.Join(dir, name), CADir: filepath.Join(dir, ca)}))
	}
	roots, err := swtpm.CA(filepath.Join(dir, "ca"))
	check(t, err)
	verifier, err := verify.New(verify.Config{Roots: roots})
	check(t, err)
	l := &lab{bench: newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{verifier} }), dir: dir, on: map[string]func(){}}
	t.Cleanup(func() {
		for _, off := range l.on {
			off()
		}
	})
	envelope, err := json.Marshal(api.ReferenceValues{
		Image: "guest", PCRs: map[string]string{"11": extended("uki"), "12": zeroPCR, "13": zeroPCR},
		Firmware: []api.FirmwareReference{{SecureBoot: true, PCRs: map[string]string{"4": extended("loader"), "7": extended("keys")}}},
	})
	check(t, err)
	check(t, l.admin.Trust(t.Context(), envelope))
	check(t, l.admin.Allow(t.Context(), initDataDigest, []string{"default/key/x"}))
	check(t, l.admin.SetResource(t.Context(), "default/key/x", []byte("the key")))
	check(t, l.admin.SetResource(t.Context(), "default/key/other", []byte("another key")))
	return l
}

// extended predicts a PCR after one measurement.
func extended(what string) string {
	sum := sha256.Sum256([]byte(what))
	out := sha256.Sum256(append(make([]byte, 32), sum[:]...))
	return hex.EncodeToString(out[:])
}

// A guest is a machine after its boot.
type guest struct {
	kbc.Attester
	tpm      *swtpm.TPM
	document string
	evidence func(*api.TPMEvidence)    // changes evidence before it is sent
	message  func(*api.KBSAttestation) // changes the message on its way
}

// boot starts the named TPM cleared and measures what firmware and node would.
func (l *lab) boot(name, document string, extra ...func(*swtpm.TPM)) *guest {
	l.t.Helper()
	if off := l.on[name]; off != nil {
		off()
	}
	chip, err := swtpm.Open(l.t.Context(), filepath.Join(l.dir, name))
	check(l.t, err)
	for n, what := range map[int]string{4: "loader", 7: "keys", 11: "uki"} {
		l.extend(chip, n, what)
	}
	for _, measure := range extra {
		measure(chip)
	}
	attester := tpm.New(tpm.Config{TPM: chip})
	_, err = attester.MeasureInitData(l.t.Context(), []byte(document))
	check(l.t, err)
	l.on[name] = func() { _ = errors.Join(attester.Close(), chip.Close()) }
	return &guest{Attester: attester, tpm: chip, document: document}
}

func (l *lab) extend(chip *swtpm.TPM, n int, what string) {
	l.t.Helper()
	sum := sha256.Sum256([]byte(what))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(n), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(chip)
	check(l.t, err)
}

// Evidence implements kbc.Attester.
func (g *guest) Evidence(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
	raw, err := g.Attester.Evidence(ctx, digest, c)
	if err != nil || g.evidence == nil {
		return raw, err
	}
	e, err := verify.Parse(raw)
	if err != nil {
		return nil, err
	}
	g.evidence(e)
	return json.Marshal(e)
}

// RoundTrip implements http.RoundTripper: a man in the middle.
func (g *guest) RoundTrip(r *http.Request) (*http.Response, error) {
	if g.message == nil || !strings.HasSuffix(r.URL.Path, "/attest") {
		return http.DefaultTransport.RoundTrip(r)
	}
	var a api.KBSAttestation
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return nil, err
	}
	g.message(&a)
	raw, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	changed := r.Clone(r.Context())
	changed.Body, changed.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	return http.DefaultTransport.RoundTrip(changed)
}

func (l *lab) fetch(g *guest, uri string) (string, error) {
	l.t.Helper()
	client, err := kbc.New(kbc.Config{URL: l.url, HTTP: &http.Client{Transport: g}, Attester: g, InitData: []byte(g.document)})
	check(l.t, err)
	defer client.Close()
	value, err := client.Resource(l.t.Context(), uri)
	return string(value), err
}

func TestProtocolWithRealTPMs(t *testing.T) {
	l := newLab(t)
	const uri = "kbs:///default/key/x"
	honest := func() {
		t.Helper()
		value, err := l.fetch(l.boot(goodTPM, initDataBody), uri)
		if err != nil || value != "the key" {
			t.Fatalf("got %q, %v", value, err)
		}
	}
	honest()
	log := l.auditLog()
	released, attested := log[len(log)-1], log[len(log)-2]
	if released.Decision != api.AuditAllow || released.Resource != "default/key/x" || released.Session != attested.Session {
		t.Errorf("got %+v", released)
	}
	if attested.Decision != api.AuditAllow || attested.Claims.PCRs["11"] != extended("uki") || attested.Claims.EK == "" || attested.InitData != initDataDigest {
		t.Errorf("got %+v", attested)
	}
	l.refusals(t, uri)
	honest() // none of these harmed the honest machine
}

// refusals tries each attack; the reason is the same on the wire and in the
// log, and different for each.
func (l *lab) refusals(t *testing.T, uri string) {
	otherDocument := strings.Replace(initDataBody, "password", "passcode", 2)
	attacks := []struct {
		name, action, reason string
		guest                func() *guest
	}{
		{"self-made attestation key", "attest", "attestation key is not proven to be in the endorsed device",
			func() *guest { return l.selfMade(l.boot(goodTPM, initDataBody)) }},
		{"another TPM's key", "attest", "evidence is by another key than the one offered",
			func() *guest { return l.relayed(l.boot(goodTPM, initDataBody), l.boot(otherTPM, initDataBody)) }},
		{"keys of two TPMs", "attest", "attestation key is not proven to be in the endorsed device",
			func() *guest { return l.mixed(l.boot(goodTPM, initDataBody), l.boot(otherTPM, initDataBody)) }},
		{"another maker's TPM", "auth", "endorsement is not trusted", func() *guest { return l.boot(foreignTPM, initDataBody) }},
		{"replayed quote", "attest", "replayed an older quote", func() *guest { return l.replaying(l.boot(goodTPM, initDataBody)) }},
		{"another nonce", "attest", "the nonce is not the one of this session's challenge", func() *guest {
			g := l.boot(goodTPM, initDataBody)
			g.message = func(a *api.KBSAttestation) { a.RuntimeData.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 32)) }
			return g
		}},
		{"another ephemeral key", "attest", "evidence is not for this handshake", func() *guest {
			g := l.boot(goodTPM, initDataBody)
			g.message = func(a *api.KBSAttestation) { _, a.RuntimeData.TEEPubKey = rsaJWK(t) }
			return g
		}},
		{"altered PCR value", "attest", "PCR values are not the quoted ones", func() *guest {
			g := l.boot(goodTPM, initDataBody)
			g.evidence = func(e *api.TPMEvidence) { e.Quote.PCRs[12] = extended("x") }
			return g
		}},
		{"unauthorised configuration", "attest", "configuration " + digestOf([]byte(otherDocument)) + " is not authorised",
			func() *guest { return l.boot(goodTPM, otherDocument) }},
		{"a configuration that was not measured", "attest", "init-data was not measured, alone, into PCR 8", func() *guest {
			g := l.boot(goodTPM, otherDocument)
			g.document = initDataBody
			return g
		}},
		{"unknown image", "attest", "PCR 11 is ", func() *guest {
			return l.boot(goodTPM, initDataBody, func(chip *swtpm.TPM) { l.extend(chip, 11, "another section") })
		}},
		{"other Secure Boot keys", "attest", "PCR 7 is ", func() *guest {
			return l.boot(goodTPM, initDataBody, func(chip *swtpm.TPM) { l.extend(chip, 7, "another key") })
		}},
		{"planted credential", "attest", "PCR 12 is " + extended("credential") + ", must be zero", func() *guest {
			return l.boot(goodTPM, initDataBody, func(chip *swtpm.TPM) { l.extend(chip, 12, "credential") })
		}},
	}
	for _, attack := range attacks {
		value, err := l.fetch(attack.guest(), uri)
		e := l.lastEntry()
		if err == nil || !strings.Contains(err.Error(), attack.reason) {
			t.Errorf("%s: got %q, %v\nwant %q", attack.name, value, err, attack.reason)
		}
		if e.Action != attack.action || e.Decision != api.AuditRefuse || len(e.Reasons) != 1 || !strings.Contains(e.Reasons[0], attack.reason) {
			t.Errorf("%s: got audit entry %+v\nwant %q", attack.name, e, attack.reason)
		}
		if e.Offered == "" {
			t.Errorf("%s: the audit entry does not name the offered TPM", attack.name)
		}
		t.Logf("%-40s %s", attack.name, strings.Join(e.Reasons, "; "))
	}
	_, err := l.fetch(l.boot(goodTPM, initDataBody), "kbs:///default/key/other")
	if want := "configuration " + initDataDigest + " may not have resource default/key/other"; err == nil || !strings.Contains(err.Error(), want) || l.lastEntry().Reasons[0] != want {
		t.Errorf("a resource that policy does not allow: got %v, want %q", err, want)
	}
}

// An impostor offers other keys than its attester's.
type impostor struct {
	kbc.Attester
	offer func(*api.ActivationOffer)
	prove func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error)
}

func (i *impostor) Offer(ctx context.Context) (*api.ActivationOffer, error) {
	genuine, err := i.Attester.Offer(ctx)
	if err != nil {
		return nil, err
	}
	changed := *genuine
	i.offer(&changed)
	return &changed, nil
}

func (i *impostor) Evidence(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
	return i.prove(ctx, digest, c)
}

// genuine is evidence of a's TPM for a handshake of its own making: as near as
// one comes who cannot answer the broker's challenge.
func (l *lab) genuine(ctx context.Context, a kbc.Attester, digest []byte) (json.RawMessage, error) {
	offer, err := a.Offer(ctx)
	if err != nil {
		return nil, err
	}
	session, err := l.verifiers[tpm.TEE].Begin(api.RequestParams{Activation: offer})
	if err != nil {
		return nil, err
	}
	return a.Evidence(ctx, digest, session.Challenge().Activation)
}

// selfMade is g with a key that lives in software and claims to be the TPM's.
func (l *lab) selfMade(g *guest) *guest {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(l.t, err)
	area := tpm.AKTemplate()
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
	attester := &impostor{Attester: g.Attester, offer: func(o *api.ActivationOffer) { o.AKPublic = tpm2.Marshal(area) }}
	attester.prove = func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
		if _, err := g.Attester.Evidence(ctx, digest, c); err == nil {
			return nil, fmt.Errorf("the TPM activated a credential for a key that it does not hold")
		}
		return l.genuine(ctx, g.Attester, digest)
	}
	return &guest{Attester: attester, document: g.document, evidence: func(e *api.TPMEvidence) { l.sign(e, key) }}
}

// sign makes key the one that vouches for the evidence.
func (l *lab) sign(e *api.TPMEvidence, key *rsa.PrivateKey) {
	message, err := base64.StdEncoding.DecodeString(e.Quote.Message)
	check(l.t, err)
	sum := sha256.Sum256(message)
	raw, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	check(l.t, err)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	check(l.t, err)
	signature := tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA,
		&tpm2.TPMSSignatureRSA{Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: raw}})}
	e.Quote.Signature = base64.StdEncoding.EncodeToString(tpm2.Marshal(signature))
	e.AKPublic = base64.StdEncoding.EncodeToString(der)
}

// relayed offers one TPM's keys and shows evidence of another.
func (l *lab) relayed(offering, signer *guest) *guest {
	attester := &impostor{Attester: offering.Attester, offer: func(*api.ActivationOffer) {}}
	attester.prove = func(ctx context.Context, digest []byte, _ *api.ActivationChallenge) (json.RawMessage, error) {
		return l.genuine(ctx, signer.Attester, digest)
	}
	return &guest{Attester: attester, document: offering.document}
}

// mixed shows one TPM's endorsement and signs with another TPM's key.
func (l *lab) mixed(endorsed, signer *guest) *guest {
	genuine, err := endorsed.Offer(l.t.Context())
	check(l.t, err)
	attester := &impostor{Attester: signer.Attester, offer: func(o *api.ActivationOffer) {
		o.EKCertificate, o.EKPublic = genuine.EKCertificate, genuine.EKPublic
	}}
	attester.prove = func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
		for _, a := range []kbc.Attester{endorsed.Attester, signer.Attester} {
			if _, err := a.Evidence(ctx, digest, c); err == nil {
				return nil, fmt.Errorf("a TPM activated a credential for a key of another")
			}
		}
		return l.genuine(ctx, signer.Attester, digest)
	}
	return &guest{Attester: attester, document: endorsed.document}
}

// replaying answers this handshake's challenge but shows the quote of one
// before it, made when the machine was still good.
func (l *lab) replaying(g *guest) *guest {
	old, err := l.genuine(l.t.Context(), g.Attester, bytes.Repeat([]byte{7}, 48))
	check(l.t, err)
	parsed, err := verify.Parse(old)
	check(l.t, err)
	l.extend(g.tpm, 12, "malice")
	g.evidence = func(e *api.TPMEvidence) { e.Quote = parsed.Quote }
	return g
}
