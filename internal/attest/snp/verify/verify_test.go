package verify_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-sev-guest/verify/trust"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/snp/impostor"
	"holdfast/internal/attest/snp/verify"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "trustee", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// recorded is when the recorded certificates were good.
func recorded() time.Time { return time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC) }

func newVerifier(t testing.TB, c verify.Config) *verify.Verifier {
	t.Helper()
	if c.Clock == nil {
		c.Clock = recorded
	}
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func judge(t testing.TB, v *verify.Verifier, evidence []byte, bound attest.Binding) (attest.Claims, error) {
	t.Helper()
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Verify(evidence, bound)
}

// Trustee's own end-to-end evidence, from a machine with a Genoa-family chip.
func TestTrusteesRecordedEvidenceIsGood(t *testing.T) {
	raw := read(t, "evidence.json")
	report, _, err := snp.ParseEvidence(raw)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := judge(t, newVerifier(t, verify.Config{}), raw, attest.Binding{RuntimeDigest: report.ReportData(), InitDataDigest: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"reported_tcb_bootloader": byte(10), "reported_tcb_snp": byte(23), "reported_tcb_microcode": byte(25), "reported_tcb_tee": byte(0),
		"policy_debug_allowed": false, "policy_smt_allowed": true, "policy_abi_major": uint64(0),
		"platform_smt_enabled": true, "platform_tsme_enabled": false, "vmpl": uint32(0), "product": "Genoa", "endorsement": "vcek",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v (%T), want %v", name, claims[name], claims[name], want)
		}
	}
}

// A report that is signed by a VLEK, and was asked for at VMPL 1: the last of
// all checks, and Trustee refuses it, too.
func TestRecordedVLEKReportFailsOnlyByItsPrivilege(t *testing.T) {
	report, err := snp.ParseReport(read(t, "test-vlek-report.bin"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := verify.ParseCertificate(read(t, "test-vlek.der"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, verify.Config{}).Judge(report, cert); !errors.Is(err, attest.ErrPrivilege) {
		t.Errorf("in its time: got %v, want %v", err, attest.ErrPrivilege)
	}
	late := newVerifier(t, verify.Config{Clock: func() time.Time { return recorded().AddDate(1, 0, 0) }})
	if _, err := late.Judge(report, cert); !errors.Is(err, attest.ErrExpired) {
		t.Errorf("a year later: got %v, want %v", err, attest.ErrExpired)
	}
}

// Trustee's rule: a report that does not name its processor is too old.
func TestRecordedReportOfVersion2IsRefused(t *testing.T) {
	if _, err := snp.ParseReport(read(t, "test-report.bin")); !errors.Is(err, attest.ErrMalformed) {
		t.Errorf("got %v, want %v", err, attest.ErrMalformed)
	}
}

func TestEveryFlippedBitOfARecordedReportIsNoticed(t *testing.T) {
	good, chain, err := snp.ParseEvidence(read(t, "evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	raw := good.Bytes()
	cert, err := verify.ParseCertificate(chain[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, verify.Config{})
	for at := 0; at < 0x2A0+144; at += 7 {
		bent := bytes.Clone(raw)
		bent[at] ^= 1
		report, err := snp.ParseReport(bent)
		if err == nil {
			_, err = v.Judge(report, cert)
		}
		if err == nil {
			t.Errorf("the bit at %#x does not matter", at)
		}
	}
}

func made(t testing.TB, p snp.Product) (*impostor.Maker, verify.Config) {
	t.Helper()
	m, err := impostor.New(p, recorded().AddDate(-1, 0, 0), recorded().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return m, verify.Config{Authorities: map[snp.Product][]verify.Authority{p: {{Root: m.Root, VCEK: m.Chips, VLEK: m.Own}}}}
}

var (
	digest = bytes.Repeat([]byte{7}, 48)
	init32 = bytes.Repeat([]byte{9}, 32)
	bound  = attest.Binding{RuntimeDigest: digest, InitDataDigest: init32}
)

func TestEveryLineOfProcessorsIsJudged(t *testing.T) {
	for _, product := range []snp.Product{snp.Milan, snp.Genoa, snp.Turin} {
		m, c := made(t, product)
		for _, signer := range []snp.Endorsement{snp.VCEK, snp.VLEK} {
			raw, err := m.Evidence(impostor.Claim{Report: digest, Host: init32, Signer: signer})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := judge(t, newVerifier(t, c), raw, bound)
			if err != nil {
				t.Errorf("%s, %v: %v", product, signer, err)
			} else if claims["reported_tcb_snp"] != byte(24) {
				t.Errorf("%s: reported_tcb_snp is %v, want 24", product, claims["reported_tcb_snp"])
			}
		}
	}
}

func TestWhoNobodyKnowsIsRefused(t *testing.T) {
	m, _ := made(t, snp.Milan)
	raw, err := m.Evidence(impostor.Claim{Report: digest, Host: init32})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge(t, newVerifier(t, verify.Config{}), raw, bound); !errors.Is(err, attest.ErrEndorsement) {
		t.Errorf("got %v, want %v", err, attest.ErrEndorsement)
	}
}

func TestAuthorityThatItsRootDidNotCertifyIsRefused(t *testing.T) {
	m, c := made(t, snp.Milan)
	other, _ := made(t, snp.Milan)
	c.Authorities[snp.Milan][0] = verify.Authority{Root: m.Root, VCEK: other.Chips, VLEK: m.Own}
	if _, err := verify.New(c); err == nil {
		t.Error("it is believed")
	}
}

func TestLiesAreRefusedForTheRightReason(t *testing.T) {
	m, c := made(t, snp.Genoa)
	good := impostor.Claim{Report: digest, Host: init32}
	for name, lie := range map[string]struct {
		claim impostor.Claim
		bound attest.Binding
		want  error
	}{
		"another handshake":  {good, attest.Binding{RuntimeDigest: bytes.Repeat([]byte{8}, 48), InitDataDigest: init32}, attest.ErrNonce},
		"no handshake":       {impostor.Claim{}, attest.Binding{}, attest.ErrNonce},
		"swapped init-data":  {good, attest.Binding{RuntimeDigest: digest, InitDataDigest: digest[:32]}, attest.ErrLaunchData},
		"tail in the report": {impostor.Claim{Report: append(bytes.Clone(digest), 1), Host: init32}, bound, attest.ErrNonce},
		"lower privilege":    {impostor.Claim{Report: digest, Host: init32, VMPL: 1}, bound, attest.ErrPrivilege},
		"another chip":       {impostor.Claim{Report: digest, Host: init32, Edit: func(b []byte) { b[0x1A0] ^= 1 }}, bound, attest.ErrPlatform},
		"newer firmware":     {impostor.Claim{Report: digest, Host: init32, Edit: func(b []byte) { b[0x186]++ }}, bound, attest.ErrPlatform},
		"unknown signer":     {impostor.Claim{Report: digest, Host: init32, Edit: func(b []byte) { b[0x48] = 2 << 2 }}, bound, attest.ErrPlatform},
		"VLEK, it says":      {impostor.Claim{Report: digest, Host: init32, Edit: func(b []byte) { b[0x48] = 1 << 2 }}, bound, attest.ErrPlatform},
		"another line":       {impostor.Claim{Report: digest, Host: init32, Edit: func(b []byte) { b[0x189] = 1 }}, bound, attest.ErrEndorsement},
	} {
		raw, err := m.Evidence(lie.claim)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := judge(t, newVerifier(t, c), raw, lie.bound); !errors.Is(err, lie.want) {
			t.Errorf("%s: got %v, want %v", name, err, lie.want)
		}
	}
}

func TestRevokedAuthorityIsRefused(t *testing.T) {
	m, c := made(t, snp.Milan)
	raw, err := m.Evidence(impostor.Claim{Report: digest, Host: init32})
	if err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]struct {
		until time.Time
		who   int
		want  error
	}{
		"revoked":      {recorded().AddDate(0, 1, 0), 1, attest.ErrRevoked},
		"another is":   {recorded().AddDate(0, 1, 0), 0, nil},
		"list too old": {recorded().AddDate(0, -1, 0), 0, attest.ErrCollateral},
	} {
		der, err := m.Revoke(list.until, []*x509.Certificate{m.Own, m.Chips}[list.who])
		if err != nil {
			t.Fatal(err)
		}
		c.Revoked = [][]byte{der}
		if _, err := judge(t, newVerifier(t, c), raw, bound); !errors.Is(err, list.want) {
			t.Errorf("%s: got %v, want %v", name, err, list.want)
		}
	}
}

func TestChipKeyComesFromCollateral(t *testing.T) {
	m, c := made(t, snp.Turin)
	report, err := m.Report(impostor.Claim{Report: digest, Host: init32})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := snp.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge(t, newVerifier(t, c), raw, bound); !errors.Is(err, attest.ErrCollateral) {
		t.Errorf("without: got %v, want %v", err, attest.ErrCollateral)
	}
	var asked verify.Chip
	c.Endorsement = func(chip verify.Chip) ([]byte, error) { asked = chip; return m.VCEK.Raw, nil }
	if _, err := judge(t, newVerifier(t, c), raw, bound); err != nil {
		t.Errorf("with: %v", err)
	}
	if asked.TCB != m.TCB || asked.Product != snp.Turin || !bytes.Equal(asked.ID, m.Chip[:]) {
		t.Errorf("asked for %+v", asked)
	}
}

func TestDigestsFillTheirFields(t *testing.T) {
	m, c := made(t, snp.Milan)
	long := bytes.Repeat([]byte{5}, 64)
	raw, err := m.Evidence(impostor.Claim{Report: digest, Host: long[:32]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge(t, newVerifier(t, c), raw, attest.Binding{RuntimeDigest: digest, InitDataDigest: long}); err != nil {
		t.Errorf("a digest of SHA-512 is cut: %v", err)
	}
}

func TestReportsSurviveTheirJSON(t *testing.T) {
	for _, name := range []string{"evidence.json"} {
		report, chain, err := snp.ParseEvidence(read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := snp.Marshal(report, chain...)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := snp.ParseEvidence(raw)
		if err != nil || !bytes.Equal(again.Bytes(), report.Bytes()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAMDsAuthoritiesAreThoseThatGoSevGuestCarries(t *testing.T) {
	all, err := verify.AMD()
	if err != nil {
		t.Fatal(err)
	}
	for name, pem := range map[snp.Product][][]byte{
		snp.Milan: {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		snp.Genoa: {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		snp.Turin: {trust.AskArkTurinVcekBytes, trust.AskArkTurinVlekBytes},
	} {
		for _, raw := range pem {
			want, err := verify.ParseAuthority(raw)
			if err != nil {
				t.Fatal(err)
			}
			got := all[name][0]
			if !got.Root.Equal(want.Root) || want.VCEK != nil && !got.VCEK.Equal(want.VCEK) || want.VLEK != nil && !got.VLEK.Equal(want.VLEK) {
				t.Errorf("authority of %s is another", name)
			}
		}
	}
}
