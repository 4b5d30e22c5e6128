package verify_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tdx"
	"holdfast/internal/attest/tdx/verify"
)

// A recording is a machine's quote, with Intel's collateral of its time.
type recording struct {
	quote string
	at    time.Time
}

var (
	upToDate = recording{"dcap-qvl/tdx_quote", time.Date(2025, 6, 19, 12, 0, 0, 0, time.UTC)}
	outdated = recording{"dcap-qvl/tdx_quote_outdated", time.Date(2026, 2, 18, 12, 0, 0, 0, time.UTC)}
)

// collateral is the recording's, as Intel's service answers: the recorder has it
// in the members of Intel's library (sgx_ql_qve_collateral_t).
func (r recording) collateral(t testing.TB) verify.Collateral {
	t.Helper()
	var c struct {
		RootCRL string `json:"root_ca_crl"`
		PCKCRL  string `json:"pck_crl"`
		Signers string `json:"tcb_info_issuer_chain"`
		TCB     string `json:"tcb_info"`
		TCBSign string `json:"tcb_info_signature"`
		QE      string `json:"qe_identity"`
		QESign  string `json:"qe_identity_signature"`
	}
	if err := json.Unmarshal(read(t, r.quote+"_collateral.json"), &c); err != nil {
		t.Fatal(err)
	}
	out := verify.Collateral{Signers: []byte(c.Signers), Signed: [][]byte{
		[]byte(`{"tcbInfo":` + c.TCB + `,"signature":"` + c.TCBSign + `"}`),
		[]byte(`{"enclaveIdentity":` + c.QE + `,"signature":"` + c.QESign + `"}`),
	}}
	for _, text := range []string{c.RootCRL, c.PCKCRL} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		out.Revoked = append(out.Revoked, raw)
	}
	return out
}

func (r recording) verifier(t testing.TB, at time.Time) *verify.Verifier {
	return newVerifier(t, verify.Config{Collateral: r.collateral(t), Clock: func() time.Time { return at }})
}

// Evidence of a real machine goes from its first byte to the claims, and Intel
// says that the machine is up to date.
func TestRecordedMachineIsUpToDate(t *testing.T) {
	q := parse(t, upToDate.quote)
	raw, err := json.Marshal(map[string]any{"quote": base64.StdEncoding.EncodeToString(read(t, upToDate.quote)), "cc_eventlog": nil})
	if err != nil {
		t.Fatal(err)
	}
	session, err := upToDate.verifier(t, upToDate.at).Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := session.Verify(raw, attest.Binding{RuntimeDigest: q.Body.ReportData(), InitDataDigest: q.Body.ConfigID()})
	if err != nil {
		t.Fatal(err)
	}
	if none, ok := claims["advisory_ids"].([]string); claims["tcb_status"] != "UpToDate" || !ok || len(none) > 0 {
		t.Errorf("it is %v (%v), want UpToDate without advisories", claims["tcb_status"], claims["advisory_ids"])
	}
	if _, err := session.Verify(raw, attest.Binding{RuntimeDigest: make([]byte, 48)}); !errors.Is(err, attest.ErrNonce) {
		t.Errorf("for another handshake: got %v, want %v", err, attest.ErrNonce)
	}
}

// A quote of version 5 over a report of TDX 1.5: good, but of a machine whose
// firmware is older than any that Intel names.
func TestRecordedMachineOfOldFirmwareIsRefused(t *testing.T) {
	q, v := parse(t, outdated.quote), outdated.verifier(t, outdated.at)
	if err := v.Signatures(q); err != nil || q.Version != 5 || !q.Body.Long() {
		t.Errorf("version %d, TDX 1.5 %v: %v; want a good one of version 5 and TDX 1.5", q.Version, q.Body.Long(), err)
	}
	if _, err := v.Judge(q); !errors.Is(err, attest.ErrFirmware) {
		t.Errorf("got %v, want %v", err, attest.ErrFirmware)
	}
}

func TestRecordedMachineIsRefusedWithoutWhatIntelSaysOfIt(t *testing.T) {
	q, c := parse(t, upToDate.quote), upToDate.collateral(t)
	other := outdated.collateral(t)
	at := func() time.Time { return upToDate.at }
	for name, r := range map[string]struct {
		config verify.Config
		want   error
	}{
		"no lists of the revoked": {verify.Config{Collateral: verify.Collateral{Signed: c.Signed, Signers: c.Signers}, Clock: at}, attest.ErrCollateral},
		"another platform's":      {verify.Config{Collateral: verify.Collateral{Signed: other.Signed, Signers: c.Signers, Revoked: c.Revoked}, Clock: at}, attest.ErrCollateral},
		"a month later":           {verify.Config{Collateral: c, Clock: func() time.Time { return upToDate.at.AddDate(0, 1, 1) }}, attest.ErrCollateral},
	} {
		if _, err := newVerifier(t, r.config).Judge(q); !errors.Is(err, r.want) {
			t.Errorf("%s: got %v, want %v", name, err, r.want)
		}
	}
}

// Each byte that Intel's keys or the machine's signed is one that counts.
func TestEveryAlteredByteOfARecordedQuoteIsNoticed(t *testing.T) {
	raw, v := read(t, upToDate.quote), upToDate.verifier(t, upToDate.at)
	for at := 0; at < 48+584; at += 13 {
		bent := append([]byte{}, raw...)
		bent[at] ^= 1
		q, err := tdx.ParseQuote(bent)
		if err == nil {
			_, err = v.Judge(q)
		}
		if err == nil {
			t.Errorf("the byte at %#x does not matter", at)
		}
	}
}
