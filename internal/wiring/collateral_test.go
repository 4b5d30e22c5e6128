package wiring

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/tdx"
)

func layDown(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func recordedFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../attest/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func judgeBy(t *testing.T, h hardware, tee string, evidence []byte, bound attest.Binding) error {
	t.Helper()
	s, err := h[tee].Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Verify(evidence, bound)
	return err
}

// Trustee's recorded evidence without its certificate, which then comes from a
// folder as Trustee's offline store has it.
func TestChipsCertificateComesFromTheFolder(t *testing.T) {
	dir := t.TempDir()
	report, chain, err := snp.ParseEvidence(recordedFile(t, "snp/verify/testdata/trustee/evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := snp.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	bound := attest.Binding{RuntimeDigest: report.ReportData()}
	h, _, err := readCollateral(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := judgeBy(t, h, "snp", bare, bound); !errors.Is(err, attest.ErrCollateral) || !strings.Contains(err.Error(), "bl10_tee00_snp23_ucode25_vcek.der") {
		t.Errorf("without: got %v", err)
	}
	for _, name := range []string{"vcek.der", "bl10_tee00_snp23_ucode25_vcek.der"} {
		path := filepath.Join(dir, "vcek", report.Hex(0x1A0, 64), name)
		layDown(t, path, chain[0].Data)
		if err := judgeBy(t, h, "snp", bare, bound); err != nil {
			t.Errorf("with %s: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFolderOfIntelsAnswersIsRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sample_tcbInfo_response.json", "sample_qeIdentity_response.json", "signers.pem", "rootcrl.der", "pckcrl.der"} {
		layDown(t, filepath.Join(dir, name), recordedFile(t, "tdx/verify/testdata/go-tdx-guest/"+name))
	}
	layDown(t, filepath.Join(dir, "README.md"), []byte("where these come from"))
	h, files, err := readCollateral(dir, time.Now)
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	quote := recordedFile(t, "tdx/verify/testdata/go-tdx-guest/tdx_prod_quote_SPR_E4.dat")
	if _, err := tdx.ParseQuote(quote); err != nil {
		t.Fatal(err)
	}
	evidence, err := json.Marshal(map[string][]byte{"quote": quote})
	if err != nil {
		t.Fatal(err)
	}
	// It was good in 2023, and says so.
	if err := judgeBy(t, h, "tdx", evidence, attest.Binding{}); !errors.Is(err, attest.ErrCollateral) {
		t.Errorf("got %v, want %v", err, attest.ErrCollateral)
	}
}

func TestBadCollateralIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"text.json":  {`{"hello":"world"}`, "no certificate"},
		"notes.txt":  {"call AMD", "notes.txt: expected Intel's JSON"},
		"list.crl":   {"-----BEGIN X509 CRL-----\n", "list.crl: expected a list"},
		"broken.pem": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"},
	} {
		dir := t.TempDir()
		layDown(t, filepath.Join(dir, name), []byte(c.data))
		if _, _, err := readCollateral(dir, time.Now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
	if _, _, err := readCollateral(filepath.Join(t.TempDir(), "absent"), time.Now); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent folder: %v", err)
	}
}

func TestSampleEvidenceHasNoVerifierUnlessAskedFor(t *testing.T) {
	for _, accept := range []bool{false, true} {
		all, err := EvidenceConfig{AcceptSample: accept}.verifiers(nil)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, v := range all {
			found = found || v.TEE() == "sample"
		}
		if found != accept || len(all) < 4 {
			t.Errorf("accept %v: %d verifiers, sample %v", accept, len(all), found)
		}
	}
}
