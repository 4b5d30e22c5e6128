package policy

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// atAzure is evidence of a machine there that shows the image of trusted, as
// package azure makes claims of it.
func atAzure(tee string, edit func(claims, pcrs map[string]any)) (map[string]any, map[string]any) {
	pcrs := map[string]any{"pcr04": pcr("4"), "pcr07": pcr("7"), "pcr11": pcr("b"), "pcr12": zeroPCR, "pcr13": zeroPCR}
	claims := map[string]any{
		"tpm": pcrs, "measurement_hex": "aa", "policy_debug_allowed": "false", "policy_migrate_ma": "false", "vmpl": 0,
		"tcb_status": "UpToDate", "td_attributes": map[string]any{"debug": false}, "quote": map[string]any{"body": map[string]any{"mr_td": "bb"}},
	}
	for _, part := range []string{"bootloader", "tee", "snp", "microcode"} {
		claims["reported_tcb_"+part], claims["committed_tcb_"+part] = "4", 4
	}
	if edit != nil {
		edit(claims, pcrs)
	}
	data := trusted(boot(true, pcr("4"), pcr("7")))
	reference := data["reference"].(map[string]any)["sha256:1"].(map[string]any)
	reference["snp"] = []any{map[string]any{"measurement": "aa", "minimum_tcb": map[string]int{"bootloader": 4, "tee": 0, "snp": 4, "microcode": 4}}}
	reference["tdx"] = []any{map[string]any{"mr_td": "bb", "rtmrs": map[string]string{}}}
	return map[string]any{"tee": tee, "claims": claims, "init_data": map[string]any{"digest": configuration}}, data
}

func TestAzureMachinesAreJudgedByHardwareAndVTPM(t *testing.T) {
	p := compile(t, Attestation)
	both := []string{"az-snp-vtpm", "az-tdx-vtpm"}
	for name, c := range map[string]struct {
		tees []string
		edit func(claims, pcrs map[string]any)
		want string // empty: allowed
	}{
		"good":              {both, nil, ""},
		"another image":     {both, func(_, pcrs map[string]any) { pcrs["pcr11"] = pcr("c") }, "no trusted image has them"},
		"an override":       {both, func(_, pcrs map[string]any) { pcrs["pcr12"] = pcr("1") }, "no trusted image has them"},
		"no PCRs":           {both, func(claims, _ map[string]any) { delete(claims, "tpm") }, "no trusted image has them"},
		"another paravisor": {both, func(claims, _ map[string]any) { claims["measurement_hex"] = "cc"; delete(claims, "quote") }, "which no trusted image names"},
		"debugged SNP":      {both[:1], func(claims, _ map[string]any) { claims["policy_debug_allowed"] = "true" }, "may be debugged"},
		"debugged TDX":      {both[1:], func(claims, _ map[string]any) { claims["td_attributes"] = map[string]any{"debug": true} }, "may be debugged"},
		"old SNP":           {both[:1], func(claims, _ map[string]any) { claims["reported_tcb_snp"] = "3" }, "firmware is too old"},
		"rolled back":       {both[:1], func(claims, _ map[string]any) { claims["committed_tcb_microcode"] = 3 }, "firmware is too old"},
		"old TDX":           {both[1:], func(claims, _ map[string]any) { claims["tcb_status"] = "OutOfDate" }, "TCB status is OutOfDate"},
	} {
		for _, tee := range c.tees {
			input, data := atAzure(tee, c.edit)
			got, err := p.Decide(context.Background(), input, data)
			if err != nil {
				t.Fatal(err)
			}
			told := slices.ContainsFunc(got.Reasons, func(r string) bool { return strings.Contains(r, c.want) })
			if got.Allow != (c.want == "") || !got.Allow && (len(got.Reasons) != 1 || !told) {
				t.Errorf("%s, %s: allowed %v, reasons %q, want %q", name, tee, got.Allow, got.Reasons, c.want)
			}
		}
	}
}
