package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// quoteOf has the PCRs that log replays to.
func quoteOf(log []byte) *Quote {
	q := &Quote{Banks: []tpm.Bank{tpm.SHA256}}
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	if err != nil {
		return q
	}
	for _, e := range parsed.Events(register.HashSHA256) {
		if e.Index < 0 || e.Index >= len(q.PCRs) || e.Type == tcg.NoAction {
			continue
		}
		q.PCRs[e.Index] = sha256.Sum256(append(q.PCRs[e.Index][:], e.Digest...))
	}
	return q
}

// Evidence that nobody activated is refused, whatever it says.
//
//fuzz:parser session.go:Verify,Parse,bind quote.go:VerifyQuote,verifySignature,readPCRs listed.go
func FuzzEvidence(f *testing.F) {
	recorded, err := os.ReadFile("testdata/trustee/tpm_evidence.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recorded)
	e, err := Parse(recorded)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParseKey(e.AKPublic)
	if err != nil {
		f.Fatal(err)
	}
	s := &session{verifier: &Verifier{banks: []tpm.Bank{tpm.SHA256}}, offer: offer{akPublic: key}, secret: make([]byte, secretSize)}
	bound := attest.Binding{RuntimeDigest: make([]byte, 48)}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := s.Verify(data, bound); err == nil {
			t.Error("evidence without an activation was accepted")
		}
		if e, err := Parse(data); err == nil {
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		}
	})
}

// A quote that verifies is the one that the TPM signed: the very message, and
// the PCR values it is about.
//
//fuzz:parser quote.go
func FuzzQuote(f *testing.F) {
	recorded, err := os.ReadFile("testdata/trustee/tpm_evidence.json")
	if err != nil {
		f.Fatal(err)
	}
	e, err := Parse(recorded)
	if err != nil {
		f.Fatal(err)
	}
	key, err := ParseKey(e.AKPublic)
	if err != nil {
		f.Fatal(err)
	}
	want, err := VerifyQuote(e.Quote, key)
	if err != nil {
		f.Fatal(err)
	}
	message, signature := decoded(f, e.Quote.Message), decoded(f, e.Quote.Signature)
	pcrs := strings.Join(e.Quote.PCRs, " ")
	f.Add(message, signature, pcrs)
	f.Add(message, signature, strings.ToUpper(pcrs))
	f.Add(message, signature, pcrs[65:])
	f.Add(append(bytes.Clone(message), 0), signature, pcrs)
	f.Fuzz(func(t *testing.T, message, signature []byte, pcrs string) {
		q, err := VerifyQuote(api.TPMQuote{Message: base64.StdEncoding.EncodeToString(message),
			Signature: base64.StdEncoding.EncodeToString(signature), PCRs: strings.Fields(pcrs)}, key)
		if err == nil && (q.PCRs != want.PCRs || !bytes.Equal(q.Nonce, want.Nonce)) {
			t.Errorf("nobody signed %+v", q)
		}
	})
}

func decoded(f *testing.F, text string) []byte {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// A TPM structure that is accepted has one spelling, and a key that may attest
// is restricted to what its TPM says.
//
//fuzz:parser key.go:attestationKey,fit,strong,fixedScheme,rsaScheme,parse
func FuzzStructures(f *testing.F) {
	ak := tpm.AKTemplate()
	ak.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xff}, 256)})
	f.Add(tpm2.Marshal(ak))
	f.Add(tpm2.Marshal(tpm.AKTemplate()))
	f.Add(tpm2.Marshal(tpm2.RSAEKTemplate))
	f.Add(tpm2.Marshal(tpm2.ECCSRKTemplate))
	for _, a := range []tpm.Algorithm{tpm.RSAPSS, tpm.P256, tpm.P384} {
		template, err := a.Template()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(tpm2.Marshal(template))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := parse[tpm2.TPMSAttest](data); err == nil && !bytes.Equal(tpm2.Marshal(v), data) {
			t.Errorf("%x is written as %x", data, tpm2.Marshal(v))
		}
		_, name, err := new(heads).attestationKey(data)
		if err != nil {
			if !errors.Is(err, attest.ErrMalformed) && !errors.Is(err, attest.ErrKeyAttributes) {
				t.Errorf("got %v", err)
			}
			return
		}
		public, err := parse[tpm2.TPMTPublic](data)
		if err != nil {
			t.Fatal(err)
		}
		if a := public.ObjectAttributes; !a.Restricted || !a.FixedTPM || a.Decrypt {
			t.Errorf("accepted %+v", a)
		}
		if b, ok := tpm.BankOf(public.NameAlg); !ok || !bytes.Equal(name[2:], b.Extended(nil, data)) {
			t.Errorf("name %x is not that of the public area", name)
		}
	})
}

// A machine's own words about its TPM: nothing is believed that the roots do
// not vouch for.
//
//fuzz:parser endorsement.go key.go:ParseKey,attestationKey verify.go:New,Begin,judge
func FuzzOffer(f *testing.F) {
	root, rootKey := authority(f)
	v, err := New(Config{Roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), Clock: func() time.Time { return time.Unix(2e9, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	ek := endorsed(f, root, rootKey)
	ekPublic := tpm2.RSAEKTemplate
	ekPublic.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: ek.PublicKey.(*rsa.PublicKey).N.Bytes()})
	ak := tpm.AKTemplate()
	ak.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: bytes.Repeat([]byte{0xff}, 256)})
	f.Add(ek.Raw, tpm2.Marshal(ekPublic), tpm2.Marshal(ak))
	f.Add(root.Raw, tpm2.Marshal(ekPublic), tpm2.Marshal(ak))
	f.Add(ek.Raw, tpm2.Marshal(tpm2.RSAEKTemplate), []byte(nil))
	f.Fuzz(func(t *testing.T, certificate, ekPublic, akPublic []byte) {
		s, err := v.Begin(api.RequestParams{Activation: &api.ActivationOffer{EKCertificate: certificate, EKPublic: ekPublic, AKPublic: akPublic}})
		if cert, bad := x509.ParseCertificate(certificate); bad == nil {
			if device, err := deviceNames(cert); err == nil && len(device) > 3 {
				t.Errorf("device %v", device)
			}
		}
		if err != nil {
			return
		}
		if cert, err := x509.ParseCertificate(certificate); err != nil || cert.CheckSignatureFrom(root) != nil {
			t.Errorf("a certificate that the root did not sign was taken: %v", err)
		}
		if c := s.Challenge().Activation; c == nil || len(c.CredentialBlob) == 0 {
			t.Error("no challenge")
		}
	})
}

// A log is explained by the PCRs it replays to and by no others, and what is
// told of it can be written down.
//
//fuzz:parser eventlog.go
func FuzzEventLog(f *testing.F) {
	names, err := filepath.Glob("testdata/boot/*.log")
	if err != nil || len(names) == 0 {
		f.Fatalf("no recorded logs: %v", err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:600])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, claims := quoteOf(data), attest.Claims{}
		err := explain(data, q, claims)
		if err != nil {
			if !errors.Is(err, attest.ErrEventLog) {
				t.Errorf("got %v, want %v", err, attest.ErrEventLog)
			}
			return
		}
		if _, err := json.Marshal(claims); err != nil {
			t.Errorf("claims %v: %v", claims, err)
		}
		for _, index := range claims["event_log_pcrs"].([]int) {
			altered := *q
			altered.PCRs[index][0] ^= 1
			if err := explain(data, &altered, attest.Claims{}); !errors.Is(err, attest.ErrEventLog) {
				t.Errorf("PCR %d has another value, and the log explains it: %v", index, err)
			}
		}
	})
}

// authority and endorsed are what a TPM's maker has: a root, and a certificate
// for an endorsement key whose names are critical, as TCG wants them.
func authority(t testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(5).FillBytes(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0)}
	return issue(t, template, template, key.Public(), key), key
}

func endorsed(t testing.TB, root *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	names := pkix.RDNSequence{{{Type: oidManufacturer, Value: "id:00001014"}}, {{Type: oidModel, Value: "swtpm"}}, {{Type: oidVersion, Value: "id:20191023"}}}
	text, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: text}})
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2048), big.NewInt(1))
	return issue(t, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidEKCertificate},
		ExtraExtensions:    []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: value}}},
		root, &rsa.PublicKey{N: n, E: defaultExponent}, key)
}

func issue(t testing.TB, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
