// Package snp knows the form of AMD SEV-SNP evidence: the report that the
// firmware signs, in its binary form and in the JSON that Trustee reads.
//
// It judges nothing beyond the form; package verify does.
package snp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"holdfast/internal/attest"
)

// ReportSize is a report's length in bytes.
const ReportSize = 0x4A0

const ecdsaP384 = 1 // with SHA-384, the only algorithm there is

// The versions of reports that are judged, as Trustee's: an older one does not
// say which processor made it.
const (
	minVersion = 3
	maxVersion = 5
)

// A Report is the firmware's statement in its binary form: SEV-SNP Firmware
// ABI (AMD publication 56860), table "ATTESTATION_REPORT". All its numbers are
// little-endian.
type Report struct {
	raw     [ReportSize]byte
	Product Product
}

// ParseReport reads a report and refuses one that it could misunderstand.
func ParseReport(raw []byte) (*Report, error) {
	r := &Report{}
	if copy(r.raw[:], raw) != len(r.raw) || len(raw) != len(r.raw) {
		return nil, fmt.Errorf("%w: SNP report of %d bytes, expected %d", attest.ErrMalformed, len(raw), len(r.raw))
	}
	if v := r.u32(0); v < minVersion || v > maxVersion {
		return nil, fmt.Errorf("%w: SNP report of version %d, expected %d to %d", attest.ErrMalformed, v, minVersion, maxVersion)
	}
	if algorithm := r.u32(0x34); algorithm != ecdsaP384 {
		return nil, fmt.Errorf("%w: SNP report is signed by algorithm %d, expected %d (ECDSA P-384)", attest.ErrMalformed, algorithm, ecdsaP384)
	}
	var err error
	r.Product, err = productOf(r.raw[0x188], r.raw[0x189])
	return r, err
}

func (r *Report) u32(at int) uint32         { return binary.LittleEndian.Uint32(r.raw[at:]) }
func (r *Report) u64(at int) uint64         { return binary.LittleEndian.Uint64(r.raw[at:]) }
func (r *Report) bytes(at, size int) []byte { return r.raw[at : at+size] }

// Bytes is the report as the firmware wrote it.
func (r *Report) Bytes() []byte { return r.raw[:] }

// Number reads one of the report's fields of 8 bytes, Hex one of bytes, each by
// its offset.
func (r *Report) Number(at int) uint64    { return r.u64(at) }
func (r *Report) Hex(at, size int) string { return hex.EncodeToString(r.bytes(at, size)) }

// What others compare.
func (r *Report) Version() uint32     { return r.u32(0x00) }
func (r *Report) GuestSVN() uint32    { return r.u32(0x04) }
func (r *Report) VMPL() uint32        { return r.u32(0x30) }
func (r *Report) Signer() Endorsement { return Endorsement(r.u32(0x48) >> 2 & 7) }
func (r *Report) ReportData() []byte  { return r.bytes(0x50, 64) }
func (r *Report) HostData() []byte    { return r.bytes(0xC0, 32) }
func (r *Report) ChipID() []byte      { return r.bytes(0x1A0, 64) }
func (r *Report) ReportedTCB() TCB    { return r.TCB(0x180) }

// An Endorsement is the kind of key that signs reports.
type Endorsement uint32

// The values of SIGNING_KEY in a report's KEY_INFO.
const (
	VCEK Endorsement = 0 // of the chip
	VLEK Endorsement = 1 // loaded by who runs it
)

func (e Endorsement) String() string {
	switch e {
	case VCEK:
		return "VCEK"
	case VLEK:
		return "VLEK"
	}
	return fmt.Sprintf("key of kind %d", uint32(e))
}

// A Product is a line of processors, which has authorities of its own.
type Product string

// The lines that make SNP reports.
const (
	Milan Product = "Milan"
	Genoa Product = "Genoa"
	Turin Product = "Turin"
)

// productOf knows a line by CPUID's family and model. Genoa's authorities also
// certify Bergamo and Siena (models A0h to AFh).
func productOf(family, model byte) (Product, error) {
	switch {
	case family == 0x19 && model <= 0x0F:
		return Milan, nil
	case family == 0x19 && (model >= 0x10 && model <= 0x1F || model >= 0xA0 && model <= 0xAF):
		return Genoa, nil
	case family == 0x1A && model <= 0x11:
		return Turin, nil
	}
	return "", fmt.Errorf("%w: SNP report is by a processor of family %#x, model %#x, which is not known", attest.ErrMalformed, family, model)
}

// A TCB holds the security patch levels of the firmware's parts.
type TCB struct {
	FMC        byte // Turin has it, the others do not
	Bootloader byte
	TEE        byte
	SNP        byte
	Microcode  byte
}

// TCB reads the TCB_VERSION at an offset; its layout changed with Turin.
func (r *Report) TCB(at int) TCB {
	b := r.bytes(at, 8)
	if r.Product == Turin {
		return TCB{FMC: b[0], Bootloader: b[1], TEE: b[2], SNP: b[3], Microcode: b[7]}
	}
	return TCB{Bootloader: b[0], TEE: b[1], SNP: b[6], Microcode: b[7]}
}

// Put writes a TCB_VERSION; fmc asks for the layout of Turin.
func (t TCB) Put(b []byte, fmc bool) {
	if fmc {
		b[0], b[1], b[2], b[3], b[7] = t.FMC, t.Bootloader, t.TEE, t.SNP, t.Microcode
		return
	}
	b[0], b[1], b[6], b[7] = t.Bootloader, t.TEE, t.SNP, t.Microcode
}
