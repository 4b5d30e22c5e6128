package verify

import (
	"encoding/hex"
	"strings"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
)

// claims are Trustee's, under its names, and then ours.
func claimsOf(r *snp.Report) attest.Claims {
	policy, platform := r.Number(0x08), r.Number(0x40)
	c := attest.Claims{
		"policy_abi_minor":     policy & 0xff,
		"policy_abi_major":     policy >> 8 & 0xff,
		"policy_smt_allowed":   policy>>16&1 == 1,
		"policy_migrate_ma":    policy>>18&1 == 1,
		"policy_debug_allowed": policy>>19&1 == 1,
		"policy_single_socket": policy>>20&1 == 1,

		"platform_smt_enabled":  platform&1 == 1,
		"platform_tsme_enabled": platform>>1&1 == 1,

		"measurement": r.Hex(0x90, 48),
		"report_data": hex.EncodeToString(r.ReportData()),
		"init_data":   hex.EncodeToString(r.HostData()),
		"chip_id":     hex.EncodeToString(r.ChipID()),

		"vmpl":              r.VMPL(),
		"product":           string(r.Product),
		"report_version":    r.Version(),
		"guest_svn":         r.GuestSVN(),
		"family_id":         r.Hex(0x10, 16),
		"image_id":          r.Hex(0x20, 16),
		"id_key_digest":     r.Hex(0xE0, 48),
		"author_key_digest": r.Hex(0x110, 48),
		"endorsement":       strings.ToLower(r.Signer().String()),
	}
	for name, at := range map[string]int{"current": 0x38, "reported": 0x180, "committed": 0x1E0, "launch": 0x1F0} {
		level(c, r, name+"_tcb_", at)
	}
	return c
}

func level(c attest.Claims, r *snp.Report, prefix string, at int) {
	t := r.TCB(at)
	c[prefix+"bootloader"], c[prefix+"tee"], c[prefix+"snp"], c[prefix+"microcode"] = t.Bootloader, t.TEE, t.SNP, t.Microcode
	if r.Product == snp.Turin {
		c[prefix+"fmc"] = t.FMC
	}
}
