package azure

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"holdfast/internal/attest"
)

// evidence is Trustee's form (deps/verifier/src/az_snp_vtpm/compat.rs and
// az_tdx_vtpm/compat.rs). Versions 1 and 2 write bytes as text; the first form,
// which has no version, writes them as arrays of numbers.
type evidence struct {
	Version int
	Quote   quote
	HCL     []byte
	VCEK    []byte // DER; of SNP
	TDQuote []byte // of TDX
}

type quote struct {
	Message   []byte
	Signature []byte // PKCS #1 v1.5 with SHA-256, without TPMT_SIGNATURE around it
	PCRs      [][]byte
}

// wire has the names of all versions.
type wire struct {
	Version  int        `json:"version"`
	TPMQuote *wireQuote `json:"tpm_quote"`
	OldQuote *wireQuote `json:"quote"`
	HCL      octets     `json:"hcl_report"`
	OldHCL   octets     `json:"report"`
	VCEK     vcek       `json:"vcek"`
	TDQuote  octets     `json:"td_quote"`
}

type wireQuote struct {
	Message   hexOctets   `json:"message"`
	Signature hexOctets   `json:"signature"`
	PCRs      []hexOctets `json:"pcrs"`
}

// octets are base64url or numbers, hexOctets are hex or numbers, vcek is
// base64url of DER or PEM.
type (
	octets    []byte
	hexOctets []byte
	vcek      []byte
)

func (o *octets) UnmarshalJSON(raw []byte) error {
	return either(raw, (*[]byte)(o), unbase64)
}

func (h *hexOctets) UnmarshalJSON(raw []byte) error {
	return either(raw, (*[]byte)(h), hex.DecodeString)
}

func (v *vcek) UnmarshalJSON(raw []byte) error {
	return either(raw, (*[]byte)(v), func(text string) ([]byte, error) {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			return block.Bytes, nil
		}
		return unbase64(text)
	})
}

func unbase64(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}

func either(raw []byte, into *[]byte, decode func(string) ([]byte, error)) error {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		*into, err = decode(text)
		return err
	}
	var numbers []uint16
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return err
	}
	*into = make([]byte, len(numbers))
	for i, n := range numbers {
		if n > 255 {
			return fmt.Errorf("%d is no byte", n)
		}
		(*into)[i] = byte(n)
	}
	return nil
}

func parse(raw json.RawMessage) (*evidence, error) {
	var w wire
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrMalformed, err)
	}
	if w.Version < 0 || w.Version > 2 {
		return nil, fmt.Errorf("%w: evidence of version %d, expected 1, 2 or none", attest.ErrMalformed, w.Version)
	}
	if w.Version == 0 && w.TPMQuote == nil {
		w.TPMQuote = w.OldQuote
	}
	if w.Version == 0 && w.HCL == nil {
		w.HCL = w.OldHCL
	}
	if w.TPMQuote == nil {
		return nil, fmt.Errorf("%w: it has no quote of the vTPM", attest.ErrMalformed)
	}
	e := &evidence{Version: w.Version, HCL: w.HCL, VCEK: w.VCEK, TDQuote: w.TDQuote}
	e.Quote.Message, e.Quote.Signature = w.TPMQuote.Message, w.TPMQuote.Signature
	for _, pcr := range w.TPMQuote.PCRs {
		e.Quote.PCRs = append(e.Quote.PCRs, pcr)
	}
	return e, nil
}
