package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// A case is evidence that is good, and all that it takes to judge it.
type benchCase struct {
	verifier *verify.Verifier
	offer    *api.ActivationOffer
	session  attest.Session
	evidence json.RawMessage
	bound    attest.Binding
}

// prepared is evidence by a key of that kind, with the log of a recorded boot
// when it is asked for: the TPM is brought to the PCRs that the log replays to.
func prepared(b *testing.B, kind tpm.Algorithm, withLog bool) *benchCase {
	b.Helper()
	d := boot(b, 0)
	c := tpm.Config{TPM: d, Key: kind}
	if withLog {
		var err error
		if c.EventLog, err = os.ReadFile("testdata/boot/secure-boot-on.log"); err != nil {
			b.Fatal(err)
		}
		measure(b, d, c.EventLog)
	}
	a := tpm.New(c)
	defer a.Close()
	offer, err := a.Offer(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	p := &benchCase{verifier: newVerifier(b), offer: offer, bound: attest.Binding{RuntimeDigest: theRuntime}}
	if p.session, err = p.verifier.Begin(api.RequestParams{Activation: offer}); err != nil {
		b.Fatal(err)
	}
	if p.evidence, err = a.Evidence(b.Context(), theRuntime, p.session.Challenge().Activation); err != nil {
		b.Fatal(err)
	}
	return p
}

func measure(b *testing.B, d *swtpm.TPM, log []byte) {
	b.Helper()
	records, err := events.Parse(log)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range records {
		if r.Type == events.NoAction {
			continue
		}
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(r.PCR), Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: r.SHA256}}},
		}.Execute(d)
		if err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkVerify(b *testing.B, kind tpm.Algorithm, withLog bool) {
	p := prepared(b, kind, withLog)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.session.Verify(p.evidence, p.bound); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyRSA(b *testing.B)         { benchmarkVerify(b, tpm.RSA, false) }
func BenchmarkVerifyRSAWithLog(b *testing.B)  { benchmarkVerify(b, tpm.RSA, true) }
func BenchmarkVerifyP256(b *testing.B)        { benchmarkVerify(b, tpm.P256, false) }
func BenchmarkVerifyP256WithLog(b *testing.B) { benchmarkVerify(b, tpm.P256, true) }
func BenchmarkVerifyP384(b *testing.B)        { benchmarkVerify(b, tpm.P384, false) }

// BenchmarkVerifyBegin is the other half of a handshake: the endorsement of a
// machine that comes again, and its challenge.
func BenchmarkVerifyBegin(b *testing.B) {
	p := prepared(b, tpm.RSA, false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.verifier.Begin(api.RequestParams{Activation: p.offer}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyFirstBegin has to check the chain, too.
func BenchmarkVerifyFirstBegin(b *testing.B) {
	p := prepared(b, tpm.RSA, false)
	for b.Loop() {
		if _, err := newVerifier(b).Begin(api.RequestParams{Activation: p.offer}); err != nil {
			b.Fatal(err)
		}
	}
}

// The floors are what the signatures alone take, of the very same evidence.
func floor(b *testing.B, kind tpm.Algorithm) {
	p := prepared(b, kind, false)
	var e api.TPMEvidence
	if err := json.Unmarshal(p.evidence, &e); err != nil {
		b.Fatal(err)
	}
	message, signature, key := opened(b, e)
	sum := sha256.Sum256(message)
	for b.Loop() {
		switch key := key.(type) {
		case *rsa.PublicKey:
			sig, _ := signature.Signature.RSASSA()
			if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig.Sig.Buffer); err != nil {
				b.Fatal(err)
			}
		case *ecdsa.PublicKey:
			sig, _ := signature.Signature.ECDSA()
			if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer)) {
				b.Fatal("bad signature")
			}
		}
	}
}

func opened(b *testing.B, e api.TPMEvidence) ([]byte, *tpm2.TPMTSignature, any) {
	b.Helper()
	message, err := base64.StdEncoding.DecodeString(e.Quote.Message)
	if err != nil {
		b.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(e.Quote.Signature)
	if err != nil {
		b.Fatal(err)
	}
	signature, err := tpm2.Unmarshal[tpm2.TPMTSignature](raw)
	if err != nil {
		b.Fatal(err)
	}
	key, err := verify.ParseKey(e.AKPublic)
	if err != nil {
		b.Fatal(err)
	}
	return message, signature, key
}

func BenchmarkFloorRSA(b *testing.B)  { floor(b, tpm.RSA) }
func BenchmarkFloorP256(b *testing.B) { floor(b, tpm.P256) }

// BenchmarkFloorChain is one signature of the endorsement's issuer, over
// RSA-3072 as swtpm_localca has it.
func BenchmarkFloorChain(b *testing.B) {
	p := prepared(b, tpm.RSA, false)
	cert, err := x509.ParseCertificate(p.offer.EKCertificate)
	if err != nil {
		b.Fatal(err)
	}
	ca, err := swtpm.CA(authority(0))
	if err != nil {
		b.Fatal(err)
	}
	issuer := first(b, ca)
	for b.Loop() {
		if err := cert.CheckSignatureFrom(issuer); err != nil {
			b.Fatal(err)
		}
	}
}

func first(b *testing.B, bundle []byte) *x509.Certificate {
	b.Helper()
	block, _ := pem.Decode(bundle)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	return cert
}
