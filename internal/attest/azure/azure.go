// Package azure judges evidence of confidential machines at Azure, where a
// paravisor inside the machine runs a vTPM.
//
// The vTPM quotes the PCRs and the handshake's digest. That its key is none
// that the host made up follows from the hardware: its report holds the digest
// of the paravisor's runtime data, in which the key stands. The report itself
// is judged as SNP or TDX evidence is. The init-data document is in PCR 8.
//
// Evidence and claims have the form and the names of Trustee's az-snp-vtpm and
// az-tdx-vtpm verifiers; docs/formats/evidence.md lists them.
package azure

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	snpverify "holdfast/internal/attest/snp/verify"
	"holdfast/internal/attest/tdx"
	tdxverify "holdfast/internal/attest/tdx/verify"
)

// A verifier judges one of the two kinds.
type verifier struct {
	tee   string
	judge attest.Judge
}

// SNP judges machines under AMD SEV-SNP, whose reports hardware judges.
func SNP(hardware *snpverify.Verifier) attest.Verifier {
	return verifier{"az-snp-vtpm", func(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
		e, report, err := open(raw, kindSNP, bound)
		if err != nil {
			return nil, err
		}
		claims, err := judgeSNP(hardware, e, report)
		if err != nil {
			return nil, err
		}
		e.Quote.claim(claims, bound)
		return claims, nil
	}}
}

// TDX judges machines under Intel TDX, whose quotes hardware judges.
func TDX(hardware *tdxverify.Verifier) attest.Verifier {
	return verifier{"az-tdx-vtpm", func(raw json.RawMessage, bound attest.Binding) (attest.Claims, error) {
		e, report, err := open(raw, kindTDX, bound)
		if err != nil {
			return nil, err
		}
		td, err := tdx.ParseQuote(e.TDQuote)
		if err != nil {
			return nil, err
		}
		if err := report.boundTo(td.Body.ReportData()); err != nil {
			return nil, err
		}
		claims, err := hardware.Judge(td)
		if err != nil {
			return nil, err
		}
		e.Quote.claim(claims, bound)
		return claims, nil
	}}
}

// TEE is the kind of evidence judged.
func (v verifier) TEE() string { return v.tee }

// Begin has nothing to ask of a machine beyond its quote.
func (v verifier) Begin(api.RequestParams) (attest.Session, error) { return v.judge, nil }

// open reads evidence and judges all of it but the hardware's report.
func open(raw json.RawMessage, kind uint32, bound attest.Binding) (*evidence, *Report, error) {
	e, err := parse(raw)
	if err != nil {
		return nil, nil, err
	}
	report, err := ParseReport(e.HCL, kind)
	if err != nil {
		return nil, nil, err
	}
	key, err := report.attestationKey()
	if err != nil {
		return nil, nil, err
	}
	if err := e.Quote.verify(key, bound.RuntimeDigest); err != nil {
		return nil, nil, err
	}
	if e.Version >= 2 {
		if err := report.isFor(bound.RuntimeDigest); err != nil {
			return nil, nil, err
		}
	}
	return e, report, e.Quote.configured(bound)
}

func judgeSNP(hardware *snpverify.Verifier, e *evidence, report *Report) (attest.Claims, error) {
	r, err := snp.ParseReport(report.Hardware)
	if err != nil {
		return nil, err
	}
	if err := report.boundTo(r.ReportData()); err != nil {
		return nil, err
	}
	cert, err := snpverify.ParseCertificate(e.VCEK)
	if err != nil {
		return nil, err
	}
	claims, err := hardware.Judge(r, cert)
	if err != nil {
		return nil, err
	}
	return claims, asText(claims)
}

// textual are the claims that Trustee writes as text for this kind alone
// (parse_tee_evidence_az); the measurement is in base64.
var textual = []string{
	"policy_abi_major", "policy_abi_minor", "policy_smt_allowed", "policy_migrate_ma", "policy_debug_allowed",
	"policy_single_socket", "reported_tcb_bootloader", "reported_tcb_tee", "reported_tcb_snp", "reported_tcb_microcode",
	"platform_tsme_enabled", "platform_smt_enabled",
}

func asText(claims attest.Claims) error {
	for _, name := range textual {
		claims[name] = fmt.Sprint(claims[name])
	}
	text, _ := claims["measurement"].(string)
	measurement, err := hex.DecodeString(text)
	claims["measurement_hex"] = text // ours: what policies compare
	claims["measurement"] = base64.StdEncoding.EncodeToString(measurement)
	return err
}
