package verify_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ccel"
	"holdfast/internal/attest/ccel/cceltest"
	"holdfast/internal/attest/tdx/impostor"
	"holdfast/internal/attest/tdx/verify"
)

var (
	digest = bytes.Repeat([]byte{7}, 48)
	init32 = bytes.Repeat([]byte{9}, 32)
	bound  = attest.Binding{RuntimeDigest: digest, InitDataDigest: init32}
	good   = impostor.Claim{Report: digest, Config: init32}
	levels = []impostor.Level{
		{SGX: 5, TDX: 5, PCE: 11, Status: "UpToDate"},
		{SGX: 4, TDX: 4, PCE: 10, Status: "OutOfDate", Advisories: []string{"INTEL-SA-00837"}},
	}
)

func made(t testing.TB) *impostor.Maker {
	t.Helper()
	m, err := impostor.New(recorded().AddDate(-1, 0, 0), recorded().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// configOf believes m, with these levels of its platforms.
func configOf(t testing.TB, m *impostor.Maker, qe string, levels []impostor.Level, revoked ...*x509.Certificate) verify.Config {
	t.Helper()
	documents, err := m.Documents(recorded().AddDate(0, 1, 0), qe, levels...)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := m.Lists(recorded().AddDate(0, 1, 0), revoked...)
	if err != nil {
		t.Fatal(err)
	}
	return verify.Config{Root: m.Root, Collateral: verify.Collateral{Signed: documents, Signers: m.Signers(), Revoked: lists}}
}

func judge(t testing.TB, c verify.Config, evidence []byte, bound attest.Binding) (attest.Claims, error) {
	t.Helper()
	s, err := newVerifier(t, c).Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Verify(evidence, bound)
}

func evidence(t testing.TB, m *impostor.Maker, c impostor.Claim, log []byte) []byte {
	t.Helper()
	raw, err := m.Evidence(c, log)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestQuotesOfBothVersionsAreJudged(t *testing.T) {
	m := made(t)
	c := configOf(t, m, "UpToDate", levels)
	for _, five := range []bool{false, true} {
		claim := good
		claim.Version5 = five
		claims, err := judge(t, c, evidence(t, m, claim, nil), bound)
		if err != nil {
			t.Errorf("version 5 %v: %v", five, err)
			continue
		}
		body := claims["quote"].(map[string]any)["body"].(map[string]any)
		if _, has := body["mr_servicetd"]; has != five || claims["tcb_status"] != "UpToDate" {
			t.Errorf("version 5 %v: mr_servicetd %v, status %v", five, has, claims["tcb_status"])
		}
	}
}

func TestTheWorstPartIsTheStatus(t *testing.T) {
	m := made(t)
	for name, c := range map[string]struct {
		qe     string
		levels []impostor.Level
		status string
		err    error
	}{
		"old platform":    {"UpToDate", []impostor.Level{{SGX: 6, TDX: 5, PCE: 11, Status: "UpToDate"}, levels[1]}, "OutOfDate", nil},
		"old enclave":     {"OutOfDate", levels, "OutOfDate", nil},
		"both to be set":  {"OutOfDate", []impostor.Level{{SGX: 1, PCE: 1, Status: "ConfigurationNeeded"}}, "OutOfDateConfigurationNeeded", nil},
		"hardening":       {"UpToDate", []impostor.Level{{SGX: 1, PCE: 1, Status: "SWHardeningNeeded"}}, "SWHardeningNeeded", nil},
		"revoked":         {"UpToDate", []impostor.Level{{SGX: 1, PCE: 1, Status: "Revoked"}}, "", attest.ErrFirmware},
		"revoked enclave": {"Revoked", levels, "", attest.ErrFirmware},
		"below all":       {"UpToDate", []impostor.Level{{SGX: 9, PCE: 1, Status: "UpToDate"}}, "", attest.ErrFirmware},
	} {
		claims, err := judge(t, configOf(t, m, c.qe, c.levels), evidence(t, m, good, nil), bound)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", name, err, c.err)
		} else if err == nil && claims["tcb_status"] != c.status {
			t.Errorf("%s: status is %v, want %s", name, claims["tcb_status"], c.status)
		}
	}
}

func TestAdvisoriesAreClaims(t *testing.T) {
	m := made(t)
	claims, err := judge(t, configOf(t, m, "UpToDate", []impostor.Level{{SGX: 6, Status: "UpToDate"}, levels[1]}), evidence(t, m, good, nil), bound)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := claims["advisory_ids"].([]string); len(got) != 1 || got[0] != "INTEL-SA-00837" {
		t.Errorf("advisory_ids is %v", claims["advisory_ids"])
	}
}

func TestLiesAreRefusedForTheRightReason(t *testing.T) {
	m := made(t)
	c := configOf(t, m, "UpToDate", levels)
	for name, lie := range map[string]struct {
		claim impostor.Claim
		bound attest.Binding
		want  error
	}{
		"another handshake": {good, attest.Binding{RuntimeDigest: init32, InitDataDigest: init32}, attest.ErrNonce},
		"no handshake":      {impostor.Claim{}, attest.Binding{}, attest.ErrNonce},
		"swapped init-data": {good, attest.Binding{RuntimeDigest: digest, InitDataDigest: digest}, attest.ErrLaunchData},
		"another key":       {impostor.Claim{Report: digest, Config: init32, EditQE: func(r []byte) { r[320] ^= 1 }}, bound, attest.ErrAttestationKey},
		"another enclave":   {impostor.Claim{Report: digest, Config: init32, EditQE: func(r []byte) { r[128] ^= 1 }}, bound, attest.ErrEndorsement},
		"debugged enclave":  {impostor.Claim{Report: digest, Config: init32, EditQE: func(r []byte) { r[48] |= 2 }}, bound, attest.ErrEndorsement},
		"strange module":    {impostor.Claim{Report: digest, Config: init32, Edit: func(b []byte) { b[64] = 1 }}, bound, attest.ErrEndorsement},
		"unnamed module":    {impostor.Claim{Report: digest, Config: init32, Edit: func(b []byte) { b[1] = 3 }}, bound, attest.ErrFirmware},
	} {
		if _, err := judge(t, c, evidence(t, m, lie.claim, nil), lie.bound); !errors.Is(err, lie.want) {
			t.Errorf("%s: got %v, want %v", name, err, lie.want)
		}
	}
}

func TestStrangersAndRevokedAreRefused(t *testing.T) {
	m, stranger := made(t), made(t)
	raw := evidence(t, m, good, nil)
	if _, err := judge(t, configOf(t, stranger, "UpToDate", levels), raw, bound); !errors.Is(err, attest.ErrEndorsement) {
		t.Errorf("unknown root: got %v, want %v", err, attest.ErrEndorsement)
	}
	for name, cert := range map[string]*x509.Certificate{"platform": m.PCK, "authority": m.PCKs, "signer": m.Signer} {
		if _, err := judge(t, configOf(t, m, "UpToDate", levels, cert), raw, bound); !errors.Is(err, attest.ErrRevoked) {
			t.Errorf("%s: got %v, want %v", name, err, attest.ErrRevoked)
		}
	}
	without := configOf(t, m, "UpToDate", levels)
	without.Collateral.Revoked = without.Collateral.Revoked[:1]
	if _, err := judge(t, without, raw, bound); !errors.Is(err, attest.ErrCollateral) {
		t.Errorf("without the list of platforms: got %v, want %v", err, attest.ErrCollateral)
	}
}

func TestCollateralThatTheMakerDidNotSignIsRefused(t *testing.T) {
	m, stranger := made(t), made(t)
	c := configOf(t, m, "UpToDate", levels)
	theirs := configOf(t, stranger, "UpToDate", levels)
	c.Collateral.Signed = theirs.Collateral.Signed
	if _, err := verify.New(c); err == nil {
		t.Error("documents of another signer are accepted")
	}
	c.Collateral.Signers = theirs.Collateral.Signers
	if _, err := verify.New(c); err == nil {
		t.Error("a signer of another root is accepted")
	}
	bent := collateral(t)
	bent.Signed[0] = bytes.Replace(bent.Signed[0], []byte("OutOfDate"), []byte("UpToDate"), 1)
	if _, err := verify.New(verify.Config{Collateral: bent}); err == nil {
		t.Error("TCB info that was improved is accepted")
	}
}

func TestEventLogMustReplay(t *testing.T) {
	m := made(t)
	c := configOf(t, m, "UpToDate", levels)
	raw := cceltest.Unpacked(t, "../../ccel/testdata/trustee/CCEL_data.gz")
	log, err := ccel.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	claim := good
	for n, value := range log.Replay() {
		claim.RTMRs[n] = bytes.Clone(value[:])
	}
	claims, err := judge(t, c, evidence(t, m, claim, raw), bound)
	if err != nil {
		t.Fatal(err)
	}
	if events := claims["uefi_event_logs"].([]map[string]any); len(events) != 5 {
		t.Errorf("%d events, want 5", len(events))
	}
	claim.RTMRs[1][0] ^= 1
	if _, err := judge(t, c, evidence(t, m, claim, raw), bound); !errors.Is(err, attest.ErrEventLog) {
		t.Errorf("altered: got %v, want %v", err, attest.ErrEventLog)
	}
}

func TestCutQuotesAreMalformed(t *testing.T) {
	raw := read(t, "trustee/tdx_quote_5.dat")
	for size := 0; size < len(raw); size += 61 {
		if err := parses(raw[:size]); size < 4900 && !errors.Is(err, attest.ErrMalformed) {
			t.Errorf("%d bytes: got %v, want %v", size, err, attest.ErrMalformed)
		}
	}
}

func benchmark(b *testing.B, five bool) {
	m := made(b)
	claim := good
	claim.Version5 = five
	raw := evidence(b, m, claim, nil)
	v := newVerifier(b, configOf(b, m, "UpToDate", levels))
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Verify(raw, bound); err != nil {
			b.Fatal(err)
		}
	}
}

// The time to verify a quote of version 4 and of version 5.
func BenchmarkVerifyTDX4(b *testing.B) { benchmark(b, false) }
func BenchmarkVerifyTDX5(b *testing.B) { benchmark(b, true) }
