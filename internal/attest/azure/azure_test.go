package azure_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/azure"
	snpverify "holdfast/internal/attest/snp/verify"
	tdxverify "holdfast/internal/attest/tdx/verify"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/trustee/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func recorded() time.Time { return time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC) }

func overSNP(t testing.TB) attest.Verifier {
	t.Helper()
	v, err := snpverify.New(snpverify.Config{Clock: recorded})
	if err != nil {
		t.Fatal(err)
	}
	return azure.SNP(v)
}

func overTDX(t testing.TB) attest.Verifier {
	t.Helper()
	v, err := tdxverify.New(tdxverify.Config{Clock: recorded})
	if err != nil {
		t.Fatal(err)
	}
	return azure.TDX(v)
}

func judge(t testing.TB, v attest.Verifier, raw []byte, bound attest.Binding) (attest.Claims, error) {
	t.Helper()
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Verify(raw, bound)
}

// The digests that Trustee's tests give beside the evidence.
const (
	digest2     = "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef"
	digestGenoa = "0218488bae25d2509232bf676f1a66a30d7372add909109b36016ef136f2938ca05475f8b46094de6b64270ea35d950f"
)

func TestWhatTrusteeAcceptsIsAccepted(t *testing.T) {
	challenge := hex.EncodeToString([]byte("challenge"))
	for name, want := range map[string]struct{ digest, pcr0, product string }{
		"az-snp-vtpm/evidence-v0.json":    {challenge, "", "Milan"},
		"az-snp-vtpm/evidence-v1.json":    {challenge, "", "Milan"},
		"az-snp-vtpm/evidence-v2.json":    {digest2, "84275b2f4312cd4fc6cbe6b152ad3c3683e513d9f1e23c34fca160c8cca7a6a7", "Milan"},
		"az-snp-vtpm/evidence-genoa.json": {digestGenoa, "afd689d0bb1c5f36f023fbaf574135f555a28a10c1f6b938d2a25e70c7783338", "Genoa"},
	} {
		claims, err := judge(t, overSNP(t), read(t, name), attest.Binding{RuntimeDigest: unhex(t, want.digest)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pcrs, _ := claims["tpm"].(map[string]any)
		if want.pcr0 != "" && pcrs["pcr00"] != want.pcr0 || len(pcrs) != 24 {
			t.Errorf("%s: %d PCRs, the first %v", name, len(pcrs), pcrs["pcr00"])
		}
		if claims["report_data"] != want.digest || claims["product"] != want.product || claims["policy_debug_allowed"] != "false" {
			t.Errorf("%s: report_data %v, product %v, policy_debug_allowed %v", name, claims["report_data"], claims["product"], claims["policy_debug_allowed"])
		}
	}
}

// What Trustee's tests change, and a replay.
func TestLiesAreRefusedForTheRightReason(t *testing.T) {
	type object = map[string]any
	quote := func(e object) object { return e["tpm_quote"].(object) }
	flip := func(o object, name string) {
		text := o[name].(string)
		o[name] = text[:8] + map[bool]string{true: "1", false: "0"}[text[8] == '0'] + text[9:]
	}
	for name, lie := range map[string]struct {
		edit  func(object)
		bound attest.Binding
		want  error
	}{
		"nothing":           {func(object) {}, attest.Binding{}, nil},
		"another handshake": {func(object) {}, attest.Binding{RuntimeDigest: bytes.Repeat([]byte{1}, 48)}, attest.ErrNonce},
		"signature":         {func(e object) { flip(quote(e), "signature") }, attest.Binding{}, attest.ErrSignature},
		"message":           {func(e object) { flip(quote(e), "message") }, attest.Binding{}, attest.ErrSignature},
		"PCR": {func(e object) {
			pcrs := quote(e)["pcrs"].([]any)
			pcrs[0], pcrs[1] = pcrs[1], pcrs[0]
		}, attest.Binding{}, attest.ErrPCRDigest},
		"init-data":   {func(object) {}, attest.Binding{InitDataDigest: make([]byte, 32)}, attest.ErrInitData},
		"version":     {func(e object) { e["version"] = 9 }, attest.Binding{}, attest.ErrMalformed},
		"no quote":    {func(e object) { delete(e, "tpm_quote") }, attest.Binding{}, attest.ErrMalformed},
		"cut report":  {func(e object) { e["hcl_report"] = e["hcl_report"].(string)[:1000] }, attest.Binding{}, attest.ErrMalformed},
		"other VCEK":  {func(e object) { e["vcek"] = vcekOf(t, "az-snp-vtpm/evidence-v1.json") }, attest.Binding{}, attest.ErrSignature},
		"no VCEK":     {func(e object) { e["vcek"] = "" }, attest.Binding{}, attest.ErrMalformed},
		"old as new":  {func(e object) { replace(t, e, "az-snp-vtpm/evidence-v1.json") }, attest.Binding{RuntimeDigest: []byte("challenge")}, attest.ErrNonce},
		"other hcl":   {func(e object) { e["hcl_report"] = hclOf(t, "az-snp-vtpm/evidence-v1.json") }, attest.Binding{}, attest.ErrSignature},
		"runtime key": {func(e object) { e["hcl_report"] = swapKey(t, e["hcl_report"].(string)) }, attest.Binding{}, attest.ErrSignature},
	} {
		var e object
		if err := json.Unmarshal(read(t, "az-snp-vtpm/evidence-v2.json"), &e); err != nil {
			t.Fatal(err)
		}
		lie.edit(e)
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if lie.bound.RuntimeDigest == nil {
			lie.bound.RuntimeDigest = unhex(t, digest2)
		}
		if _, err := judge(t, overSNP(t), raw, lie.bound); !errors.Is(err, lie.want) {
			t.Errorf("%s: got %v, want %v", name, err, lie.want)
		}
	}
}

func field(t testing.TB, name, field string) any {
	t.Helper()
	var e map[string]any
	if err := json.Unmarshal(read(t, name), &e); err != nil {
		t.Fatal(err)
	}
	return e[field]
}

func vcekOf(t testing.TB, name string) any { return field(t, name, "vcek") }
func hclOf(t testing.TB, name string) any  { return field(t, name, "hcl_report") }

// replace puts older evidence under the version that has user-data.
func replace(t testing.TB, e map[string]any, name string) {
	for _, part := range []string{"tpm_quote", "hcl_report", "vcek"} {
		e[part] = field(t, name, part)
	}
}

// swapKey puts another vTPM's key into the runtime data.
func swapKey(t testing.TB, report string) string {
	t.Helper()
	return azure.WithKeyOf(report, hclOf(t, "az-snp-vtpm/evidence-v1.json").(string))
}

// The quote of another vTPM, whose key stands in runtime data that the hardware
// did not see.
func TestSelfMadeKeyIsRefused(t *testing.T) {
	var e map[string]any
	if err := json.Unmarshal(read(t, "az-snp-vtpm/evidence-v1.json"), &e); err != nil {
		t.Fatal(err)
	}
	e["hcl_report"] = azure.WithKeyOf(hclOf(t, "az-snp-vtpm/evidence-v2.json").(string), e["hcl_report"].(string))
	raw, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge(t, overSNP(t), raw, attest.Binding{RuntimeDigest: []byte("challenge")}); !errors.Is(err, attest.ErrBinding) {
		t.Errorf("got %v, want %v", err, attest.ErrBinding)
	}
}

// No collateral is recorded for this machine: all before it is good.
func TestRecordedTDXEvidenceLacksOnlyCollateral(t *testing.T) {
	for _, name := range []string{"az-tdx-vtpm/evidence-v0.json", "az-tdx-vtpm/evidence-v1.json"} {
		bound := attest.Binding{RuntimeDigest: []byte("challenge")}
		if _, err := judge(t, overTDX(t), read(t, name), bound); !errors.Is(err, attest.ErrCollateral) {
			t.Errorf("%s: got %v, want %v", name, err, attest.ErrCollateral)
		}
		bound.RuntimeDigest = []byte("egnellahc")
		if _, err := judge(t, overTDX(t), read(t, name), bound); !errors.Is(err, attest.ErrNonce) {
			t.Errorf("%s, replayed: got %v, want %v", name, err, attest.ErrNonce)
		}
	}
}

func TestKindsAreNotMixed(t *testing.T) {
	bound := attest.Binding{RuntimeDigest: []byte("challenge")}
	if _, err := judge(t, overTDX(t), read(t, "az-snp-vtpm/evidence-v1.json"), bound); !errors.Is(err, attest.ErrMalformed) {
		t.Errorf("SNP as TDX: got %v", err)
	}
	if _, err := judge(t, overSNP(t), read(t, "az-tdx-vtpm/evidence-v1.json"), bound); !errors.Is(err, attest.ErrMalformed) || !strings.Contains(err.Error(), "kind 4") {
		t.Errorf("TDX as SNP: got %v", err)
	}
}

// The time to verify evidence of an Azure machine under SNP.
func BenchmarkVerifyAzureSNP(b *testing.B) {
	v, raw := overSNP(b), read(b, "az-snp-vtpm/evidence-v2.json")
	bound := attest.Binding{RuntimeDigest: unhex(b, digest2)}
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
