package snp

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"holdfast/internal/attest"
)

// maxCertificates bounds the chain that is read; a machine has at most four.
const maxCertificates = 16

// evidence is Trustee's form: the report field by field, as the sev crate of
// virtee serialises it, and the certificates that the host gave the machine.
type evidence struct {
	Report json.RawMessage `json:"attestation_report"`
	Chain  []Certificate   `json:"cert_chain"`
}

// A Certificate is an entry of the table that the host gave.
type Certificate struct {
	Type CertificateType `json:"cert_type"` // ARK, ASK, VCEK or VLEK
	Data octets          `json:"data"`      // DER
}

// A CertificateType is a name, or {"OTHER": guid}, which is not read.
type CertificateType string

func (t *CertificateType) UnmarshalJSON(raw []byte) error {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		*t = CertificateType(name)
	}
	return nil
}

// octets are bytes as an array of numbers.
type octets []byte

func (o *octets) UnmarshalJSON(raw []byte) error {
	var numbers []uint16 // of bytes encoding/json would make text
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return err
	}
	*o = make(octets, len(numbers))
	for i, n := range numbers {
		if n > 255 {
			return fmt.Errorf("%d is no byte", n)
		}
		(*o)[i] = byte(n)
	}
	return nil
}

// MarshalJSON writes what UnmarshalJSON reads.
func (o octets) MarshalJSON() ([]byte, error) {
	numbers := make([]uint16, len(o))
	for i, b := range o {
		numbers[i] = uint16(b)
	}
	return json.Marshal(numbers)
}

// fields are those of a report in the order of the ABI. The flags stay the
// numbers that they are.
type fields struct {
	Version    uint32      `json:"version"`
	GuestSVN   uint32      `json:"guest_svn"`
	Policy     uint64      `json:"policy"`
	FamilyID   octets      `json:"family_id"`
	ImageID    octets      `json:"image_id"`
	VMPL       uint32      `json:"vmpl"`
	Algorithm  uint32      `json:"sig_algo"`
	CurrentTCB level       `json:"current_tcb"`
	Platform   uint64      `json:"plat_info"`
	KeyInfo    uint32      `json:"key_info"`
	ReportData octets      `json:"report_data"`
	Measure    octets      `json:"measurement"`
	HostData   octets      `json:"host_data"`
	IDKey      octets      `json:"id_key_digest"`
	AuthorKey  octets      `json:"author_key_digest"`
	ReportID   octets      `json:"report_id"`
	ReportIDMA octets      `json:"report_id_ma"`
	Reported   level       `json:"reported_tcb"`
	Family     *byte       `json:"cpuid_fam_id"`
	Model      *byte       `json:"cpuid_mod_id"`
	Stepping   *byte       `json:"cpuid_step"`
	ChipID     octets      `json:"chip_id"`
	Committed  level       `json:"committed_tcb"`
	Current    firmware    `json:"current"`
	Commit     firmware    `json:"committed"`
	Launch     level       `json:"launch_tcb"`
	LaunchMit  *uint64     `json:"launch_mit_vector"`
	CurrentMit *uint64     `json:"current_mit_vector"`
	Signature  coordinates `json:"signature"`
}

type level struct {
	FMC        *byte `json:"fmc"`
	Bootloader byte  `json:"bootloader"`
	TEE        byte  `json:"tee"`
	SNP        byte  `json:"snp"`
	Microcode  byte  `json:"microcode"`
}

type firmware struct {
	Major byte `json:"major"`
	Minor byte `json:"minor"`
	Build byte `json:"build"`
}

type coordinates struct {
	R octets `json:"r"`
	S octets `json:"s"`
}

// ParseEvidence reads evidence without judging it.
func ParseEvidence(raw json.RawMessage) (*Report, []Certificate, error) {
	var e evidence
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", attest.ErrMalformed, err)
	}
	if len(e.Chain) > maxCertificates {
		return nil, nil, fmt.Errorf("%w: %d certificates, at most %d are read", attest.ErrMalformed, len(e.Chain), maxCertificates)
	}
	var f fields
	if err := json.Unmarshal(e.Report, &f); err != nil {
		return nil, nil, fmt.Errorf("%w: attestation_report: %w", attest.ErrMalformed, err)
	}
	data, err := f.binary()
	if err != nil {
		return nil, nil, err
	}
	r, err := ParseReport(data)
	return r, e.Chain, err
}

// binary is the report as the firmware signed it; what JSON leaves out was
// zero, or else the signature is not over it.
func (f *fields) binary() ([]byte, error) {
	b := make([]byte, ReportSize)
	turin := f.Reported.FMC != nil
	for _, part := range []struct {
		name     string
		at, size int
		value    octets
	}{
		{"family_id", 0x10, 16, f.FamilyID}, {"image_id", 0x20, 16, f.ImageID},
		{"report_data", 0x50, 64, f.ReportData}, {"measurement", 0x90, 48, f.Measure},
		{"host_data", 0xC0, 32, f.HostData}, {"id_key_digest", 0xE0, 48, f.IDKey},
		{"author_key_digest", 0x110, 48, f.AuthorKey}, {"report_id", 0x140, 32, f.ReportID},
		{"report_id_ma", 0x160, 32, f.ReportIDMA}, {"chip_id", 0x1A0, 64, f.ChipID},
		{"signature.r", 0x2A0, 72, f.Signature.R}, {"signature.s", 0x2E8, 72, f.Signature.S},
	} {
		if len(part.value) != part.size {
			return nil, fmt.Errorf("%w: %s has %d bytes, expected %d", attest.ErrMalformed, part.name, len(part.value), part.size)
		}
		copy(b[part.at:], part.value)
	}
	for at, value := range map[int]uint32{0: f.Version, 4: f.GuestSVN, 0x30: f.VMPL, 0x34: f.Algorithm, 0x48: f.KeyInfo} {
		binary.LittleEndian.PutUint32(b[at:], value)
	}
	for at, value := range map[int]uint64{0x08: f.Policy, 0x40: f.Platform, 0x1F8: or(f.LaunchMit), 0x200: or(f.CurrentMit)} {
		binary.LittleEndian.PutUint64(b[at:], value)
	}
	for at, l := range map[int]level{0x38: f.CurrentTCB, 0x180: f.Reported, 0x1E0: f.Committed, 0x1F0: f.Launch} {
		TCB{FMC: or(l.FMC), Bootloader: l.Bootloader, TEE: l.TEE, SNP: l.SNP, Microcode: l.Microcode}.Put(b[at:at+8], turin)
	}
	for at, version := range map[int]firmware{0x1E8: f.Current, 0x1EC: f.Commit} {
		b[at], b[at+1], b[at+2] = version.Build, version.Minor, version.Major
	}
	b[0x188], b[0x189], b[0x18A] = or(f.Family), or(f.Model), or(f.Stepping)
	return b, nil
}

func or[T byte | uint64](p *T) T {
	if p == nil {
		return 0
	}
	return *p
}
