package tsm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-sev-guest/abi"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	snpverify "holdfast/internal/attest/snp/verify"
	"holdfast/internal/attest/tdx/impostor"
	tdxverify "holdfast/internal/attest/tdx/verify"
	"holdfast/internal/boot/guid"
)

// kernel is a folder as Linux shows it, with answers that were made before: no
// machine that could make them is at hand. What it was asked is in asked.
type kernel struct {
	provider     string
	outblob, aux []byte
	asked        []byte
	left         int // folders that were not removed
}

func (k *kernel) config(t *testing.T) Config {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "report")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{Folder: folder,
		mkdir: func(dir string) error {
			k.left++
			files := map[string][]byte{"provider": []byte(k.provider + "\n"), "inblob": nil, "outblob": k.outblob}
			if k.aux != nil {
				files["auxblob"] = k.aux
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			for name, data := range files {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
		remove: func(dir string) (err error) {
			k.left--
			k.asked, err = os.ReadFile(filepath.Join(dir, "inblob"))
			return errors.Join(err, os.RemoveAll(dir))
		},
	}
}

func attester(t *testing.T, c Config) *Attester {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// recorded is Trustee's evidence of a real machine, as its kernel would have
// shown it: the report, and the table of certificates as go-sev-guest writes it.
func recorded(t *testing.T) (*kernel, *snp.Report) {
	t.Helper()
	raw, err := os.ReadFile("../snp/verify/testdata/trustee/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	report, chain, err := snp.ParseEvidence(raw)
	if err != nil || len(chain) != 1 {
		t.Fatalf("got %d certificates, %v", len(chain), err)
	}
	table := &abi.CertTable{Entries: []abi.CertTableEntry{
		{GUID: named(t, abi.ExtraPlatformInfoGUID), RawCert: []byte("something else")},
		{GUID: named(t, abi.VcekGUID), RawCert: chain[0].Data},
	}}
	return &kernel{provider: "sev_guest", outblob: report.Bytes(), aux: table.Marshal()}, report
}

func named(t testing.TB, text string) [16]byte {
	t.Helper()
	g, err := guid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAReportOfARealMachineIsGoodEvidence(t *testing.T) {
	k, report := recorded(t)
	a := attester(t, k.config(t))
	evidence, err := a.Evidence(t.Context(), report.ReportData(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.TEE() != snpverify.TEE || !bytes.Equal(k.asked, report.ReportData()) || k.left != 0 {
		t.Errorf("it is %s, the kernel was asked for %x, and %d folders were left", a.TEE(), k.asked, k.left)
	}
	v, err := snpverify.New(snpverify.Config{Clock: func() time.Time { return time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC) }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Verify(evidence, attest.Binding{RuntimeDigest: report.ReportData()})
	if err != nil || claims["product"] != "Genoa" {
		t.Errorf("got %v, %v", claims["product"], err)
	}
}

func TestAQuoteIsGoodEvidence(t *testing.T) {
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	m, err := impostor.New(at.AddDate(-1, 0, 0), at.AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	digest := bytes.Repeat([]byte{7}, 48)
	quote, err := m.Quote(impostor.Claim{Report: digest})
	if err != nil {
		t.Fatal(err)
	}
	documents, err := m.Documents(at.AddDate(0, 1, 0), "UpToDate", impostor.Level{SGX: 5, TDX: 5, PCE: 11, Status: "UpToDate"})
	if err != nil {
		t.Fatal(err)
	}
	lists, err := m.Lists(at.AddDate(0, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	v, err := tdxverify.New(tdxverify.Config{Root: m.Root, Clock: func() time.Time { return at },
		Collateral: tdxverify.Collateral{Signed: documents, Signers: m.Signers(), Revoked: lists}})
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{provider: "tdx_guest", outblob: quote}
	a := attester(t, k.config(t))
	evidence, err := a.Evidence(t.Context(), digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.Begin(api.RequestParams{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verify(evidence, attest.Binding{RuntimeDigest: digest}); err != nil || a.TEE() != tdxverify.TEE {
		t.Errorf("%s: %v", a.TEE(), err)
	}
	if want := append(digest, make([]byte, 16)...); !bytes.Equal(k.asked, want) {
		t.Errorf("the kernel was asked for %x, want %x", k.asked, want)
	}
	c := k.config(t)
	c.EventLog = []byte("log")
	with, err := attester(t, c).Evidence(t.Context(), digest, nil)
	var sent map[string][]byte
	if err != nil || json.Unmarshal(with, &sent) != nil || string(sent["cc_eventlog"]) != "log" {
		t.Errorf("with a log: %s, %v", with, err)
	}
}

func TestAMachineLaunchedForAnotherConfigurationIsToldSo(t *testing.T) {
	k, report := recorded(t)
	a := attester(t, k.config(t))
	if _, err := a.MeasureInitData(t.Context(), []byte("a configuration")); err == nil || !strings.Contains(err.Error(), "was launched for") {
		t.Errorf("got %v", err)
	}
	document := []byte("a configuration")
	sum, _ := a.MeasureInitData(t.Context(), document)
	copy(k.outblob[0xC0:], sum[:]) // HOST_DATA; the signature is the broker's to judge
	if _, err := a.MeasureInitData(t.Context(), document); err != nil {
		t.Errorf("launched for it: %v", err)
	}
	if !bytes.Equal(report.HostData(), sum[:]) {
		t.Error("the recording was not changed")
	}
}

func TestWithoutTheKernelsInterfaceThereIsNoEvidence(t *testing.T) {
	if _, err := New(Config{Folder: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, ErrNone) {
		t.Errorf("no folder: got %v, want %v", err, ErrNone)
	}
	k := &kernel{provider: "arm_cca_guest"}
	if _, err := New(k.config(t)); err == nil || k.left != 0 {
		t.Errorf("another maker: got %v, with %d folders left", err, k.left)
	}
	good, _ := recorded(t)
	for name, broken := range map[string]*kernel{
		"empty":            {provider: "sev_guest"},
		"short":            {provider: "sev_guest", outblob: good.outblob[:100]},
		"torn table":       {provider: "sev_guest", outblob: good.outblob, aux: good.aux[:30]},
		"endless":          {provider: "sev_guest", outblob: make([]byte, maxBlob+1)},
		"no quote":         {provider: "tdx_guest", outblob: good.outblob},
		"report for quote": {provider: "tdx_guest"},
	} {
		if e, err := attester(t, broken.config(t)).Evidence(t.Context(), make([]byte, 48), nil); err == nil || broken.left != 0 {
			t.Errorf("%s: got %s, with %d folders left", name, e, broken.left)
		}
	}
	if _, err := attester(t, good.config(t)).Evidence(t.Context(), make([]byte, 65), nil); err == nil {
		t.Error("a digest that does not fit was cut off")
	}
}

//fuzz:parser certificates.go
func FuzzCertificates(f *testing.F) {
	table := &abi.CertTable{Entries: []abi.CertTableEntry{{GUID: named(f, abi.VlekGUID), RawCert: []byte("der")}}}
	f.Add(table.Marshal())
	f.Add(binary.LittleEndian.AppendUint64(make([]byte, 16), 1<<40))
	f.Add(make([]byte, entrySize))
	f.Fuzz(func(t *testing.T, table []byte) {
		all, err := Certificates(table)
		if err != nil && len(all) > 0 {
			t.Errorf("%v, and %d certificates", err, len(all))
		}
		for _, c := range all {
			if len(c.Data) > maxCertificate || c.Type == "" || !bytes.Contains(table, c.Data) {
				t.Errorf("%s of %d bytes", c.Type, len(c.Data))
			}
		}
	})
}
