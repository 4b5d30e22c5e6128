package verify

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tdx"
)

// claimsOf has Trustee's names and forms (deps/verifier/src/tdx/claims.rs and
// intel_dcap/claims.rs). What Intel's library counts as expired refuses here,
// so collateral_expiration_status is "0".
func claimsOf(q *tdx.Quote, p *platform, s *standing) attest.Claims {
	c := QuoteClaims(q)
	if p.instance != "" {
		c["platform_instance_id"] = p.instance
	}
	c["platform_provider_id"] = p.ppid
	c["sgx_type"] = [...]string{"Standard", "Scalable", "Scalable with Integrity"}[min(max(p.sgxType, 0), 2)]
	for name, set := range p.flags {
		c[name] = set
	}
	c["fmspc"] = p.fmspc
	c["tcb_status"] = s.status
	c["tcb_date"] = s.date.Format(time.RFC3339)
	c["advisory_ids"] = append([]string{}, s.advisories...)
	c["collateral_expiration_status"] = "0"
	c["earliest_issue_date"] = s.from.Issue.Format(time.RFC3339)
	c["latest_issue_date"] = s.to.Issue.Format(time.RFC3339)
	c["earliest_expiration_date"] = s.until.Format(time.RFC3339)
	c["tcb_eval_num"] = min(s.from.Eval, s.to.Eval)
	c["pck_crl_num"], c["root_ca_crl_num"] = s.pckList, s.rootList
	return c
}

// bodyParts are the parts of a TD report by offset.
var bodyParts = []struct {
	name     string
	at, size int
}{
	{"tcb_svn", 0, 16}, {"mr_seam", 16, 48}, {"mrsigner_seam", 64, 48}, {"seam_attributes", 112, 8},
	{"td_attributes", 120, 8}, {"xfam", 128, 8}, {"mr_td", 136, 48}, {"mr_config_id", 184, 48},
	{"mr_owner", 232, 48}, {"mr_owner_config", 280, 48}, {"rtmr_0", 328, 48}, {"rtmr_1", 376, 48},
	{"rtmr_2", 424, 48}, {"rtmr_3", 472, 48}, {"report_data", 520, 64},
	{"tee_tcb_svn2", 584, 16}, {"mr_servicetd", 600, 48},
}

// QuoteClaims are those that follow from a quote alone.
func QuoteClaims(q *tdx.Quote) attest.Claims {
	body := map[string]any{}
	for _, part := range bodyParts {
		if part.at+part.size <= len(q.Body) {
			body[part.name] = q.Body.Hex(part.at, part.size)
		}
	}
	header := map[string]any{}
	for name, at := range map[string][2]int{
		"version": {0, 2}, "att_key_type": {2, 4}, "tee_type": {4, 8}, "reserved": {8, 12}, "vendor_id": {12, 28}, "user_data": {28, 48},
	} {
		header[name] = hex.EncodeToString(q.Header[at[0]:at[1]])
	}
	quote := map[string]any{"header": header, "body": body}
	if q.Version == 5 {
		quote["type"] = fmt.Sprintf("%04x", q.Type<<8|q.Type>>8)
		quote["size"] = hex.EncodeToString(q.Size())
	}
	return attest.Claims{
		"quote": quote, "td_attributes": attributes(q.Body.Attributes()),
		"report_data": hex.EncodeToString(q.Body.ReportData()), "init_data": hex.EncodeToString(q.Body.ConfigID()),
	}
}

// attributes are those of Intel TDX Module ABI, "TD attributes".
func attributes(raw []byte) map[string]bool {
	bits := binary.LittleEndian.Uint64(raw)
	set := map[string]bool{}
	for name, bit := range map[string]int{"debug": 0, "septve_disable": 28, "protection_keys": 30, "key_locker": 31, "perfmon": 63} {
		set[name] = bits>>bit&1 == 1
	}
	return set
}
