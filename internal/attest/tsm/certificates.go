package tsm

import (
	"encoding/binary"
	"fmt"

	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/boot/guid"
)

// entrySize is that of a line of the table: a GUID as it is written, offset and
// length (GHCB specification 2.03, 4.1.8.1).
const entrySize = 16 + 4 + 4

// The host wrote the table: its lines, and what each points at, are bounded.
const (
	maxEntries     = 16
	maxCertificate = 16 << 10
)

// The names of certificates in the table; others, and longer ones, are left out.
var certificates = map[string]snp.CertificateType{
	"63da758d-e664-4564-adc5-f4b93be8accd": "VCEK",
	"a8074bc2-a25a-483e-aae6-39c045a0b8a1": "VLEK",
	"4ab7b379-bbac-4fe4-a02f-05aef327c782": "ASK",
	"c0b406a4-a803-4952-9743-3fb6014cd0ae": "ARK",
}

// Certificates reads the table of certificates that the host of an SNP machine
// gives it: lines until one of zeros, and what they point at. There may be none.
func Certificates(table []byte) ([]snp.Certificate, error) {
	var all []snp.Certificate
	for n := 0; len(table) > 0; n++ {
		at := n * entrySize
		if n > maxEntries || at+entrySize > len(table) {
			return nil, fmt.Errorf("%w: table of certificates: no end after %d lines", attest.ErrMalformed, n)
		}
		line := table[at : at+entrySize]
		name := guid.GUID(line[:16])
		offset, size := uint64(binary.LittleEndian.Uint32(line[16:])), uint64(binary.LittleEndian.Uint32(line[20:]))
		if name == (guid.GUID{}) && offset == 0 && size == 0 {
			return all, nil
		}
		if offset+size > uint64(len(table)) {
			return nil, fmt.Errorf("%w: table of certificates: %s at %d to %d, and the table has %d bytes", attest.ErrMalformed, name, offset, offset+size, len(table))
		}
		if kind, ok := certificates[name.String()]; ok && size <= maxCertificate {
			all = append(all, snp.Certificate{Type: kind, Data: table[offset : offset+size]})
		}
	}
	return all, nil
}
