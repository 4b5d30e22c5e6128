package verify_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/verify"
)

func TestHonestEvidenceBecomesClaims(t *testing.T) {
	r := honest(t)
	claims, err := r.session.Verify(r.evidence, r.bound)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(initData)
	pcr8 := sha256.Sum256(append(make([]byte, 32), sum[:]...))
	certificate := sha256.Sum256(r.offer.EKCertificate)
	want := map[string]string{
		"report_data":      hex.EncodeToString(theRuntime[:32]),
		"init_data_digest": hex.EncodeToString(sum[:]),
		"init_data":        hex.EncodeToString(pcr8[:]),
		"pcr00":            strings.Repeat("0", 64),
		"pcr08":            hex.EncodeToString(pcr8[:]),
		"pcr23":            strings.Repeat("0", 64),
		"ek_certificate":   hex.EncodeToString(certificate[:]),
	}
	for name, value := range want {
		if claims[name] != value {
			t.Errorf("claim %s is %v, want %s", name, claims[name], value)
		}
	}
	if got := claims["event_log_pcrs"]; !slices.Equal(got.([]int), []int{8}) {
		t.Errorf("event log explains PCRs %v, want 8", got)
	}
	if device := claims["tpm"].(map[string]string); device["model"] != "swtpm" || device["manufacturer"] == "" {
		t.Errorf("device is %v", device)
	}
	if _, told := claims["secure_boot"]; told {
		t.Error("a log without PCR 7 tells of Secure Boot")
	}
}

func TestAlteredEvidenceIsRefusedForItsReason(t *testing.T) {
	r := honest(t)
	flip := func(text *string, at int) {
		data, err := base64.StdEncoding.DecodeString(*text)
		if err != nil {
			t.Fatal(err)
		}
		data[(at+len(data))%len(data)] ^= 1
		*text = base64.StdEncoding.EncodeToString(data)
	}
	cases := []struct {
		name   string
		want   error
		change func(*api.TPMEvidence)
	}{
		{"a PCR value", attest.ErrPCRDigest, func(e *api.TPMEvidence) { e.Quote.PCRs[4] = strings.Repeat("1", 64) }},
		{"two PCR values exchanged", attest.ErrPCRDigest, func(e *api.TPMEvidence) {
			e.Quote.PCRs[8], e.Quote.PCRs[9] = e.Quote.PCRs[9], e.Quote.PCRs[8]
		}},
		{"a PCR value missing", attest.ErrMalformed, func(e *api.TPMEvidence) { e.Quote.PCRs = e.Quote.PCRs[:23] }},
		{"a PCR value cut", attest.ErrMalformed, func(e *api.TPMEvidence) { e.Quote.PCRs[0] = e.Quote.PCRs[0][:62] }},
		{"the quoted digest", attest.ErrSignature, func(e *api.TPMEvidence) { flip(&e.Quote.Message, -1) }},
		{"the quote's magic", attest.ErrSignature, func(e *api.TPMEvidence) { flip(&e.Quote.Message, 0) }},
		{"the signature", attest.ErrSignature, func(e *api.TPMEvidence) { flip(&e.Quote.Signature, -1) }},
		{"the signature's scheme", attest.ErrMalformed, func(e *api.TPMEvidence) { flip(&e.Quote.Signature, 0) }},
		{"the signature's hash", attest.ErrSignature, func(e *api.TPMEvidence) { flip(&e.Quote.Signature, 3) }},
		{"a byte after the signature", attest.ErrMalformed, func(e *api.TPMEvidence) {
			data, _ := base64.StdEncoding.DecodeString(e.Quote.Signature)
			e.Quote.Signature = base64.StdEncoding.EncodeToString(append(data, 0))
		}},
		{"the activation", attest.ErrActivation, func(e *api.TPMEvidence) { e.ActivationHMAC[0] ^= 1 }},
		{"no activation", attest.ErrActivation, func(e *api.TPMEvidence) { e.ActivationHMAC = nil }},
		{"no key", attest.ErrMalformed, func(e *api.TPMEvidence) { e.AKPublic = "" }},
		{"the log's digest", attest.ErrEventLog, func(e *api.TPMEvidence) { e.EventLog[bytes.Index(e.EventLog, []byte("holdfast"))-5] ^= 1 }},
		{"a log cut short", attest.ErrEventLog, func(e *api.TPMEvidence) { e.EventLog = e.EventLog[:len(e.EventLog)-1] }},
		{"a log without its last record", nil, func(e *api.TPMEvidence) { e.EventLog = e.EventLog[:65] }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := r.session.Verify(r.altered(t, c.change), r.bound)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestReplayNamesThePCR(t *testing.T) {
	r := honest(t)
	evidence := r.altered(t, func(e *api.TPMEvidence) { e.EventLog[bytes.Index(e.EventLog, []byte("holdfast"))-5] ^= 1 })
	_, err := r.session.Verify(evidence, r.bound)
	var pcr *attest.PCRError
	if !errors.As(err, &pcr) || pcr.PCR != 8 {
		t.Errorf("got %v, want an error about PCR 8", err)
	}
}

func TestTruncatedEvidenceIsRefused(t *testing.T) {
	r := honest(t)
	for n := range len(r.evidence) {
		if _, err := r.session.Verify(r.evidence[:n], r.bound); !errors.Is(err, attest.ErrMalformed) {
			t.Fatalf("evidence of %d bytes: got %v, want %v", n, err, attest.ErrMalformed)
		}
	}
}

func TestQuoteIsGoodForOneHandshake(t *testing.T) {
	r := honest(t)
	bound := r.bound
	bound.RuntimeDigest = digest("another nonce or key")
	if _, err := r.session.Verify(r.evidence, bound); !errors.Is(err, attest.ErrNonce) {
		t.Errorf("replayed quote: got %v, want %v", err, attest.ErrNonce)
	}
	later, err := newVerifier(t).Begin(api.RequestParams{Activation: r.offer})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := later.Verify(r.evidence, r.bound); !errors.Is(err, attest.ErrActivation) {
		t.Errorf("another session's secret: got %v, want %v", err, attest.ErrActivation)
	}
	short := attest.Binding{RuntimeDigest: theRuntime[:16]}
	if _, err := r.session.Verify(r.evidence, short); !errors.Is(err, attest.ErrNonce) {
		t.Errorf("short digest: got %v, want %v", err, attest.ErrNonce)
	}
}

func TestConfigurationIsPCR8AndNothingElse(t *testing.T) {
	r := honest(t)
	bound := r.bound
	other := sha256.Sum256([]byte("another document"))
	bound.InitDataDigest = other[:]
	if _, err := r.session.Verify(r.evidence, bound); !errors.Is(err, attest.ErrInitData) {
		t.Errorf("other document: got %v, want %v", err, attest.ErrInitData)
	}
	if _, err := r.attester.MeasureInitData(t.Context(), initData); err != nil {
		t.Fatal(err)
	}
	twice := r.prove(t, r.session, theRuntime)
	if _, err := r.session.Verify(twice, r.bound); !errors.Is(err, attest.ErrInitData) {
		t.Errorf("measured twice: got %v, want %v", err, attest.ErrInitData)
	}
}

func TestUnloggedMeasurementIsFound(t *testing.T) {
	r := honest(t)
	sum := sha256.Sum256([]byte("secret deed"))
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: 8, Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: sum[:]}}},
	}.Execute(r.tpm)
	if err != nil {
		t.Fatal(err)
	}
	bound := attest.Binding{RuntimeDigest: theRuntime}
	_, err = r.session.Verify(r.prove(t, r.session, theRuntime), bound)
	if !errors.Is(err, attest.ErrEventLog) {
		t.Errorf("got %v, want %v", err, attest.ErrEventLog)
	}
}

func TestEvidenceRecordedByTrusteeVerifies(t *testing.T) {
	_, _, quote := trusteesQuote(t)
	if quote.PCRs[0] != [32]byte{} || len(quote.Nonce) == 0 {
		t.Errorf("PCR 0 is %x, nonce %x", quote.PCRs[0], quote.Nonce)
	}
}

func TestToolsOfOthersAcceptOurQuoteAndLog(t *testing.T) {
	r := honest(t)
	e, err := verify.Parse(r.evidence)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if name == "ak.pem" {
			data = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: data})
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, message, signature := write("ak.pem", e.AKPublic), write("message", e.Quote.Message), write("signature", e.Quote.Signature)
	log := write("log", base64.StdEncoding.EncodeToString(e.EventLog))
	tool(t, "tpm2_checkquote", "-g", "sha256", "-u", key, "-m", message, "-s", signature, "-q", hex.EncodeToString(theRuntime[:32]))
	listing := tool(t, "tpm2_eventlog", log)
	sum := sha256.Sum256(initData)
	for _, want := range []string{"EV_IPL", "holdfast init-data", hex.EncodeToString(sum[:]), e.Quote.PCRs[tpm.InitDataPCR]} {
		if !strings.Contains(listing, want) {
			t.Errorf("tpm2_eventlog does not show %s:\n%s", want, listing)
		}
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed; run it with: apt-get install tpm2-tools", name)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestClaimsAreJSON(t *testing.T) {
	r := honest(t)
	claims, err := r.session.Verify(r.evidence, r.bound)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := json.Marshal(claims); err != nil {
		t.Error(err)
	}
}
