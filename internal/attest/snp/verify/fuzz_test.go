package verify_test

import (
	"bytes"
	"testing"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/snp/verify"
)

// No evidence but the recorded machine's has a good signature by AMD.
//
//fuzz:parser ../evidence.go verify.go:verify,bind,endorsement
func FuzzEvidence(f *testing.F) {
	raw := read(f, "evidence.json")
	f.Add(raw)
	f.Add([]byte(`{"attestation_report":{},"cert_chain":[{"cert_type":{"OTHER":"x"},"data":[1,2]}]}`))
	report, _, err := snp.ParseEvidence(raw)
	if err != nil {
		f.Fatal(err)
	}
	v := newVerifier(f, verify.Config{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		claims, err := judge(t, v, raw, attest.Binding{RuntimeDigest: report.ReportData()})
		if err == nil && claims["measurement"] != report.Hex(0x90, 48) {
			t.Errorf("accepted the measurement %v", claims["measurement"])
		}
	})
}

// A report survives its JSON, whatever it says.
//
//fuzz:parser ../report.go ../marshal.go ../evidence.go:binary
func FuzzReport(f *testing.F) {
	f.Add(read(f, "test-report.bin"))
	f.Add(read(f, "test-vlek-report.bin"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := snp.ParseReport(raw)
		if err != nil {
			return
		}
		evidence, err := snp.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := snp.ParseEvidence(evidence)
		if err != nil {
			t.Fatal(err)
		}
		more, err := snp.Marshal(again)
		if err != nil || !bytes.Equal(evidence, more) {
			t.Errorf("%v: another form after the second time", err)
		}
	})
}

// No certificate but the recorded one vouches for the recorded report.
//
//fuzz:parser chain.go
func FuzzCertificate(f *testing.F) {
	report, chain, err := snp.ParseEvidence(read(f, "evidence.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(chain[0].Data))
	f.Add(read(f, "test-vlek.der"))
	v := newVerifier(f, verify.Config{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		cert, err := verify.ParseCertificate(raw)
		if err != nil {
			return
		}
		if _, err := v.Judge(report, cert); err == nil && !bytes.Equal(cert.Raw, chain[0].Data) {
			t.Error("another certificate vouches for the report")
		}
	})
}

// The time to verify recorded evidence: one RSA-4096 signature of AMD's
// authority and one P-384 of the report.
func BenchmarkVerifySNP(b *testing.B) {
	raw := read(b, "evidence.json")
	report, _, err := snp.ParseEvidence(raw)
	if err != nil {
		b.Fatal(err)
	}
	v := newVerifier(b, verify.Config{})
	for b.Loop() {
		if _, err := judge(b, v, raw, attest.Binding{RuntimeDigest: report.ReportData()}); err != nil {
			b.Fatal(err)
		}
	}
}
