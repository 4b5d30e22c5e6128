package verify_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/snp/verify"
)

func openanolis(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "openanolis", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A report of version 5 of an EPYC 9005, under AMD's own root for that line: with
// a fifth firmware level, and a chip's number of 8 bytes.
func TestRecordedTurinReportIsGood(t *testing.T) {
	raw := openanolis(t, "turin-report.bin")
	report, err := snp.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := verify.ParseCertificate(openanolis(t, "turin-vcek.der"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(when time.Time) *verify.Verifier {
		return newVerifier(t, verify.Config{Clock: func() time.Time { return when }})
	}
	now := cert.NotBefore.AddDate(0, 1, 0)
	claims, err := at(now).Judge(report, cert)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"product": "Turin", "endorsement": "vcek", "report_version": uint32(5), "vmpl": uint32(0), "policy_debug_allowed": false} {
		if claims[name] != want {
			t.Errorf("%s is %v (%T), want %v", name, claims[name], claims[name], want)
		}
	}
	for _, level := range []string{"fmc", "bootloader", "tee", "snp", "microcode"} {
		if _, ok := claims["reported_tcb_"+level].(byte); !ok {
			t.Errorf("reported_tcb_%s is %v", level, claims["reported_tcb_"+level])
		}
	}
	if _, err := at(cert.NotBefore.AddDate(0, 0, -1)).Judge(report, cert); !errors.Is(err, attest.ErrExpired) {
		t.Errorf("before its certificate: got %v, want %v", err, attest.ErrExpired)
	}
	for where := 0; where < 0x2A0+144; where += 7 {
		bent := bytes.Clone(raw)
		bent[where] ^= 1
		report, err := snp.ParseReport(bent)
		if err == nil {
			_, err = at(now).Judge(report, cert)
		}
		if err == nil {
			t.Errorf("the bit at %#x does not matter", where)
		}
	}
}

// The certificate of another line's chip does not vouch for it.
func TestRecordedTurinReportNeedsItsOwnChip(t *testing.T) {
	report, err := snp.ParseReport(openanolis(t, "turin-report.bin"))
	if err != nil {
		t.Fatal(err)
	}
	_, chain, err := snp.ParseEvidence(read(t, "evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := verify.ParseCertificate(chain[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, verify.Config{}).Judge(report, other); !errors.Is(err, attest.ErrEndorsement) {
		t.Errorf("got %v, want %v", err, attest.ErrEndorsement)
	}
}
