package azure_test

import (
	"bytes"
	"testing"

	"holdfast/internal/attest"
	"holdfast/internal/attest/azure"
)

// No evidence but the recorded machine's is good.
//
//fuzz:parser evidence.go quote.go azure.go
func FuzzEvidence(f *testing.F) {
	f.Add(read(f, "az-snp-vtpm/evidence-v1.json"))
	f.Add(read(f, "az-snp-vtpm/evidence-v0.json"))
	v := overSNP(f)
	recorded, err := judge(f, v, read(f, "az-snp-vtpm/evidence-v1.json"), attest.Binding{RuntimeDigest: []byte("challenge")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		claims, err := judge(t, v, raw, attest.Binding{RuntimeDigest: []byte("challenge")})
		if err == nil && claims["chip_id"] != recorded["chip_id"] {
			t.Errorf("accepted chip %v", claims["chip_id"])
		}
	})
}

// The parts of an HCL report are parts of it.
//
//fuzz:parser hcl.go
func FuzzReport(f *testing.F) {
	f.Add(azure.HCLOf(read(f, "az-snp-vtpm/evidence-v2.json")), uint32(2))
	f.Add(azure.HCLOf(read(f, "az-tdx-vtpm/evidence-v1.json")), uint32(4))
	f.Fuzz(func(t *testing.T, raw []byte, kind uint32) {
		r, err := azure.ParseReport(raw, kind)
		if err != nil {
			return
		}
		if !bytes.Contains(raw, r.Runtime) || len(r.Hardware) != 1184 {
			t.Errorf("%d bytes of runtime data, %d of hardware's report", len(r.Runtime), len(r.Hardware))
		}
		r.Check()
	})
}
