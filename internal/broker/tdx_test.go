package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tdx/impostor"
	"holdfast/internal/attest/tdx/verify"
)

func tdxBench(t *testing.T, status string) (*bench, *impostor.Maker) {
	t.Helper()
	from, until := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	maker, err := impostor.New(from, until)
	check(t, err)
	documents, err := maker.Documents(until, "UpToDate", impostor.Level{SGX: 1, TDX: 1, PCE: 1, Status: status})
	check(t, err)
	lists, err := maker.Lists(until)
	check(t, err)
	verifier, err := verify.New(verify.Config{Root: maker.Root, Collateral: verify.Collateral{Signed: documents, Signers: maker.Signers(), Revoked: lists}})
	check(t, err)
	b := newBench(t, func(c *Config) { c.Verifiers = []attest.Verifier{verifier} })
	b.furnish()
	envelope, err := json.Marshal(api.ReferenceValues{Image: "guest", TDX: []api.TDXReference{{
		MRTD: hex.EncodeToString(launched), RTMRs: map[string]string{"1": hex.EncodeToString(launched), "2": hex.EncodeToString(launched)},
	}}})
	check(t, err)
	check(t, b.admin.Trust(t.Context(), envelope))
	return b, maker
}

func (m *machine) shakeTDX(maker *impostor.Maker, edit func(*impostor.Claim)) (int, []byte) {
	m.b.t.Helper()
	return m.shake(verify.TEE, func(digest []byte) json.RawMessage {
		config := sha256.Sum256([]byte(m.initData))
		claim := impostor.Claim{Report: digest, Config: config[:], MRTD: launched, RTMRs: [4][]byte{1: launched, 2: launched}}
		if edit != nil {
			edit(&claim)
		}
		raw, err := maker.Evidence(claim, nil)
		check(m.b.t, err)
		return raw
	})
}

func TestTDXMachineIsGivenWhatItMayHave(t *testing.T) {
	b, maker := tdxBench(t, "UpToDate")
	m := b.machine()
	status, body := m.shakeTDX(maker, nil)
	m.take(status, body)
	if status, body = m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK || m.open(body) != "the key" {
		t.Fatalf("resource: %d %s", status, body)
	}
}

func TestTDXMachineIsRefusedForTheRightReason(t *testing.T) {
	b, maker := tdxBench(t, "UpToDate")
	for name, lie := range map[string]struct {
		edit func(*impostor.Claim)
		want string
	}{
		"debugged":        {func(c *impostor.Claim) { c.Attributes = 1 }, "may be debugged"},
		"another image":   {func(c *impostor.Claim) { c.MRTD = []byte("other") }, "no trusted image has them"},
		"another cmdline": {func(c *impostor.Claim) { c.RTMRs[2] = []byte("other") }, "no trusted image has them"},
		"swapped":         {func(c *impostor.Claim) { c.Config = nil }, attest.ErrLaunchData.Error()},
		"replayed":        {func(c *impostor.Claim) { c.Report = nil }, attest.ErrNonce.Error()},
	} {
		status, body := b.machine().shakeTDX(maker, lie.edit)
		wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, lie.want)
		if reasons := b.lastEntry().Reasons; len(reasons) != 1 {
			t.Errorf("%s: the log gives %d reasons: %q", name, len(reasons), reasons)
		}
	}
}

func TestOldTDXPlatformIsRefused(t *testing.T) {
	b, maker := tdxBench(t, "OutOfDate")
	status, body := b.machine().shakeTDX(maker, nil)
	wantProblem(t, status, body, http.StatusUnauthorized, kindAttestation, "TCB status is OutOfDate, must be UpToDate")
}
