package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// handshake is an honest one, of an attester made so, before a verifier.
func handshake(t testing.TB, v *verify.Verifier, c tpm.Config) (attest.Claims, json.RawMessage, error) {
	t.Helper()
	a := tpm.New(c)
	defer a.Close()
	if _, err := a.MeasureInitData(t.Context(), initData); err != nil {
		t.Fatal(err)
	}
	offer, err := a.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := v.Begin(api.RequestParams{Activation: offer})
	if err != nil {
		return nil, nil, err
	}
	evidence, err := a.Evidence(t.Context(), theRuntime, session.Challenge().Activation)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(initData)
	claims, err := session.Verify(evidence, attest.Binding{RuntimeDigest: theRuntime, InitDataDigest: sum[:]})
	return claims, evidence, err
}

func TestEachKindOfAttestationKeyVerifies(t *testing.T) {
	for _, kind := range []tpm.Algorithm{"", tpm.RSA, tpm.RSAPSS, tpm.P256, tpm.P384} {
		t.Run("key "+string(kind), func(t *testing.T) {
			claims, _, err := handshake(t, newVerifier(t), tpm.Config{TPM: boot(t, 0), Key: kind})
			if err != nil {
				t.Fatal(err)
			}
			if claims["activated"] != true || !slices.Equal(claims["banks"].([]tpm.Bank), []tpm.Bank{tpm.SHA256}) {
				t.Errorf("activated %v, banks %v", claims["activated"], claims["banks"])
			}
		})
	}
}

// spare is a TPM that the test may alter: nobody else has it.
func spare(t *testing.T) (*swtpm.TPM, func() *swtpm.TPM) {
	t.Helper()
	boot(t, 0) // makes the authority
	dir := filepath.Join(t.TempDir(), "tpm")
	if err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: dir, CADir: authority(0)}); err != nil {
		t.Fatal(err)
	}
	var d *swtpm.TPM
	start := func() *swtpm.TPM {
		if d != nil {
			_ = d.Close()
		}
		var err error
		if d, err = swtpm.Open(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		return d
	}
	t.Cleanup(func() { _ = d.Close() })
	return start(), start
}

func forget(t *testing.T, d *swtpm.TPM, index tpm2.TPMHandle) {
	t.Helper()
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.NVUndefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: index, Name: rsp.NVName},
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
}

// swtpm certifies a P-384 key in the high range beside RSA: a TPM without the
// latter's certificate is endorsed by it.
func TestTPMWithoutRSAEndorsementIsGood(t *testing.T) {
	d, _ := spare(t)
	forget(t, d, 0x01c00002)
	for _, kind := range []tpm.Algorithm{tpm.RSA, tpm.P256, tpm.P384} {
		if _, _, err := handshake(t, newVerifier(t), tpm.Config{TPM: d, Key: kind}); err != nil && !errors.Is(err, attest.ErrInitData) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// maker is an authority that certifies keys of the templates that swtpm_setup
// does not use.
type maker struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newMaker(t testing.TB, notAfter time.Time) maker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "maker of TPMs"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Unix(1e9, 0), NotAfter: notAfter, SubjectKeyId: []byte("maker")}
	m := maker{template, key}
	m.cert = m.sign(t, template, key.Public())
	return m
}

func (m maker) sign(t testing.TB, template *x509.Certificate, public any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, m.cert, public, m.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (m maker) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.cert.Raw})
}

func (m maker) endorse(t testing.TB, serial int64, notAfter time.Time, public any) *x509.Certificate {
	return m.sign(t, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "a TPM"}, NotBefore: time.Unix(1e9, 0), NotAfter: notAfter,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}}, public)
}

// certify leaves a certificate of m for the key of e in the TPM.
func (m maker) certify(t *testing.T, d *swtpm.TPM, e tpm.Endorsement, notAfter time.Time) *x509.Certificate {
	t.Helper()
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(e.Template),
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}.Execute(d)
	area, err := rsp.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	cert := m.endorse(t, 7, notAfter, public)
	leave(t, d, e.Certificate, cert.Raw)
	return cert
}

func leave(t *testing.T, d *swtpm.TPM, index tpm2.TPMHandle, data []byte) {
	t.Helper()
	platform := tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)}
	_, err := tpm2.NVDefineSpace{AuthHandle: platform, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)),
		Attributes: tpm2.TPMANV{PPWrite: true, PPRead: true, OwnerRead: true, AuthRead: true, NoDA: true, PlatformCreate: true},
	})}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := tpm2.NVReadPublic{NVIndex: index}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); at += 512 {
		_, err := tpm2.NVWrite{AuthHandle: platform, NVIndex: tpm2.NamedHandle{Handle: index, Name: rsp.NVName},
			Data: tpm2.TPM2BMaxNVBuffer{Buffer: data[at:min(at+512, len(data))]}, Offset: uint16(at)}.Execute(d)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachEndorsementOfTheProfileIsActivated(t *testing.T) {
	m := newMaker(t, time.Unix(4e9, 0))
	v, err := verify.New(verify.Config{Roots: m.pem()})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := spare(t)
	forget(t, d, 0x01c00002)
	forget(t, d, 0x01c00016)
	for _, e := range tpm.Endorsements() {
		cert := m.certify(t, d, e, time.Unix(4e9, 0))
		a := tpm.New(tpm.Config{TPM: d})
		offer, err := a.Offer(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if string(offer.EKCertificate) != string(cert.Raw) {
			t.Fatalf("%s: another certificate is offered", e.Name)
		}
		session, err := v.Begin(api.RequestParams{Activation: offer})
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		evidence, err := a.Evidence(t.Context(), theRuntime, session.Challenge().Activation)
		if err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := session.Verify(evidence, attest.Binding{RuntimeDigest: theRuntime}); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		forget(t, d, e.Certificate)
	}
}

// allocate has the TPM keep these banks, and no others, from its next start
// (TPM2_PCR_Allocate: TPM 2.0 Part 3, 22.5).
func allocate(t *testing.T, d *swtpm.TPM, banks ...tpm2.TPMAlgID) {
	t.Helper()
	be := binary.BigEndian
	all := []tpm2.TPMAlgID{tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512}
	body := be.AppendUint32(nil, uint32(tpm2.TPMRHPlatform))
	body = append(be.AppendUint32(body, 9), 0x40, 0, 0, 9, 0, 0, 0, 0, 0) // a password, empty
	body = be.AppendUint32(body, uint32(len(all)))
	for _, b := range all {
		mask := byte(0)
		if slices.Contains(banks, b) {
			mask = 0xff
		}
		body = append(be.AppendUint16(body, uint16(b)), 3, mask, mask, mask)
	}
	command := be.AppendUint16(nil, 0x8002)
	command = be.AppendUint32(command, uint32(10+len(body)))
	command = append(be.AppendUint32(command, 0x12b), body...)
	answer, err := d.Send(command)
	if err != nil || be.Uint32(answer[6:]) != 0 {
		t.Fatalf("TPM2_PCR_Allocate: %x, %v", answer, err)
	}
}

func TestSeveralBanksAreQuotedTogether(t *testing.T) {
	d, restart := spare(t)
	allocate(t, d, tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384)
	d = restart()
	both := []tpm.Bank{tpm.SHA256, tpm.SHA384}
	claims, _, err := handshake(t, newVerifier(t), tpm.Config{TPM: d, Banks: both})
	if err != nil {
		t.Fatal(err)
	}
	if got := claims["banks"].([]tpm.Bank); !slices.Equal(got, both) {
		t.Errorf("banks are %v, want %v", got, both)
	}
	other := claims["pcrs"].(map[string][]string)["sha384"]
	if len(other) != 24 || len(other[8]) != 96 || other[8] == strings.Repeat("0", 96) || len(claims["pcr08"].(string)) != 64 {
		t.Errorf("PCR 8 of sha384 is %v, of sha256 %v", other[8], claims["pcr08"])
	}
	if got := claims["event_log_pcrs"]; !slices.Equal(got.([]int), []int{8}) {
		t.Errorf("event log explains PCRs %v, want 8", got)
	}
}

func TestWrongBankIsNamed(t *testing.T) {
	d, restart := spare(t)
	allocate(t, d, tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA384)
	d = restart()
	_, evidence, err := handshake(t, newVerifier(t), tpm.Config{TPM: d})
	var bank *attest.BankError
	if !errors.As(err, &bank) || bank.Missing != "sha256" || !errors.Is(err, attest.ErrBank) {
		t.Errorf("a quote of sha384 alone: got %v", err)
	}
	if strings.Contains(string(evidence), `"pcr00"`) {
		t.Errorf("evidence %s", evidence)
	}
	ca, err := swtpm.CA(authority(0))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Roots: ca, Banks: []tpm.Bank{tpm.SHA384}})
	if err != nil {
		t.Fatal(err)
	}
	d = restart()
	if _, _, err := handshake(t, v, tpm.Config{TPM: d}); err != nil {
		t.Errorf("where sha384 is wanted: %v", err)
	}
}

// A TPM signs a quote of SHA-1 if it is asked to.
func TestQuoteOfSHA1IsRefused(t *testing.T) {
	d, restart := spare(t)
	allocate(t, d, tpm2.TPMAlgSHA1, tpm2.TPMAlgSHA256)
	d = restart()
	key, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(tpm.AKTemplate()),
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	quote, err := tpm2.Quote{
		SignHandle: tpm2.AuthHandle{Handle: key.ObjectHandle, Name: key.Name, Auth: tpm2.PasswordAuth(nil)},
		PCRSelect:  tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA1, PCRSelect: []byte{0xff, 0xff, 0xff}}}},
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	area, err := key.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.Pub(*area)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	_, err = verify.VerifyQuote(api.TPMQuote{Signature: encode(tpm2.Marshal(quote.Signature)), Message: encode(quote.Quoted.Bytes())}, public)
	var bank *attest.BankError
	if !errors.As(err, &bank) || bank.Quoted != "sha1" {
		t.Errorf("got %v, want a refusal of sha1", err)
	}
}
