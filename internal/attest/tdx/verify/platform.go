package verify

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"

	"holdfast/internal/attest"
)

// A platform is what a PCK certificate says of the processor.
type platform struct {
	cert     *x509.Certificate
	fmspc    string // family, model, stepping, type: 12 hex digits
	pceID    string
	ppid     string
	instance string // empty when the certificate has none
	sgxType  int
	flags    map[string]bool // dynamic platform, cached keys, SMT
	svns     [16]int         // of the SGX components
	pceSVN   int
}

// oidSGX is the extension of PCK certificates: Intel SGX PCK Certificate and
// CRL Profile Specification, section 1.3.5.
var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

type attribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

func newPlatform(cert *x509.Certificate) (*platform, error) {
	p := &platform{cert: cert, flags: map[string]bool{}}
	for _, e := range cert.Extensions {
		if !e.Id.Equal(oidSGX) {
			continue
		}
		var list []attribute
		if rest, err := asn1.Unmarshal(e.Value, &list); err != nil || len(rest) > 0 {
			return nil, fmt.Errorf("%w: PCK certificate: its SGX extension is unreadable", attest.ErrMalformed)
		}
		for _, a := range list {
			if err := p.read(a); err != nil {
				return nil, fmt.Errorf("%w: PCK certificate: %v: %w", attest.ErrMalformed, a.ID, err)
			}
		}
	}
	if len(p.fmspc) != 12 || p.pceID == "" {
		return nil, fmt.Errorf("%w: PCK certificate names no FMSPC and PCE-ID", attest.ErrMalformed)
	}
	return p, nil
}

func (p *platform) read(a attribute) error {
	if len(a.ID) != len(oidSGX)+1 || !a.ID[:len(oidSGX)].Equal(oidSGX) {
		return nil
	}
	switch a.ID[len(oidSGX)] {
	case 1:
		return octets(a.Value, &p.ppid)
	case 2:
		return each(a.Value, p.readLevel)
	case 3:
		return octets(a.Value, &p.pceID)
	case 4:
		return octets(a.Value, &p.fmspc)
	case 5:
		var kind asn1.Enumerated
		_, err := asn1.Unmarshal(a.Value.FullBytes, &kind)
		p.sgxType = int(kind)
		return err
	case 6:
		return p.readInstance(a.Value)
	case 7:
		return each(a.Value, p.readFlag)
	}
	return nil
}

// readInstance turns the ID round, as Trustee writes it.
func (p *platform) readInstance(v asn1.RawValue) error {
	var raw []byte
	_, err := asn1.Unmarshal(v.FullBytes, &raw)
	slices.Reverse(raw)
	p.instance = hex.EncodeToString(raw)
	return err
}

func octets(v asn1.RawValue, into *string) error {
	var raw []byte
	_, err := asn1.Unmarshal(v.FullBytes, &raw)
	*into = hex.EncodeToString(raw)
	return err
}

func each(v asn1.RawValue, do func(attribute) error) error {
	var list []attribute
	if _, err := asn1.Unmarshal(v.FullBytes, &list); err != nil {
		return err
	}
	for _, a := range list {
		if err := do(a); err != nil {
			return err
		}
	}
	return nil
}

// readLevel reads a security version: components 1 to 16, then PCESVN.
func (p *platform) readLevel(a attribute) error {
	n := a.ID[len(a.ID)-1]
	if n < 1 || n > 17 {
		return nil // CPUSVN, the same in another form
	}
	into := &p.pceSVN
	if n <= 16 {
		into = &p.svns[n-1]
	}
	_, err := asn1.Unmarshal(a.Value.FullBytes, into)
	return err
}

func (p *platform) readFlag(a attribute) error {
	name := map[int]string{1: "is_dynamic_platform", 2: "is_cached_keys", 3: "is_smt_enabled"}[a.ID[len(a.ID)-1]]
	if name == "" {
		return nil
	}
	var value bool
	_, err := asn1.Unmarshal(a.Value.FullBytes, &value)
	p.flags[name] = value
	return err
}
