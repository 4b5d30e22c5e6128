// Package events reads the log that firmware and boot programs keep of what
// they measured.
//
// A log is a machine's word. What it says is told only as far as it replays to
// PCR values that a TPM signed, in every bank that was signed, and a record's
// content only where its digest is of that content: the rest could have been
// written by anybody.
package events

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest/tpm"
)

// Bounds on what is read. Firmware keeps some hundred records in 64 KiB.
const (
	MaxLog     = 1 << 20
	maxRecords = 1 << 14
	maxBanks   = 16
)

// A Record is one entry of a log (TCG PC Client Platform Firmware Profile 1.05,
// 10.2.2). Its slices are of the log that it was read from.
type Record struct {
	PCR  int
	Type Type
	Data []byte

	SHA256, SHA384 []byte // digests, by bank; nil where it has none
}

// Digest is what was measured into a bank, nil if the record has none.
func (r *Record) Digest(b tpm.Bank) []byte {
	if b == tpm.SHA384 {
		return r.SHA384
	}
	return r.SHA256
}

// Of says whether the digests in all banks are those of content.
func (r *Record) Of(content []byte, banks []tpm.Bank) bool {
	for _, b := range banks {
		h := b.Hash().New()
		h.Write(content)
		if string(h.Sum(nil)) != string(r.Digest(b)) {
			return false
		}
	}
	return len(banks) > 0
}

var errShort = errors.New("the log ends within a record")

// A reader takes little-endian numbers and bytes off a log.
type reader struct {
	data []byte
	err  error // of the first that was not there
}

func (r *reader) bytes(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)) {
		r.err = errShort
		return nil
	}
	out := r.data[:n:n]
	r.data = r.data[n:]
	return out
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Parse reads a log in the crypto-agile format. It judges nothing.
func Parse(log []byte) ([]Record, error) {
	if len(log) > MaxLog {
		return nil, fmt.Errorf("the log has %d bytes, at most %d are read", len(log), MaxLog)
	}
	r := &reader{data: log}
	sizes, err := header(r)
	if err != nil {
		return nil, err
	}
	var records []Record
	for len(r.data) > 0 {
		if len(records) == maxRecords {
			return nil, fmt.Errorf("the log has more than %d records", maxRecords)
		}
		record, err := readRecord(r, sizes)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", len(records)+1, err)
		}
		records = append(records, record)
	}
	return records, nil
}

// header reads the first record, which is in the old format, and returns the
// sizes of digests by their algorithms (profile, 10.4.5.1).
func header(r *reader) (map[tpm2.TPMAlgID]uint16, error) {
	r.bytes(4) // PCR
	kind := Type(r.uint32())
	r.bytes(20) // SHA-1 of nothing
	spec := &reader{data: r.bytes(uint64(r.uint32()))}
	if r.err != nil {
		return nil, fmt.Errorf("header: %w", r.err)
	}
	if kind != NoAction || string(spec.bytes(16)) != "Spec ID Event03\x00" {
		return nil, errors.New("header: expected a crypto-agile log (Spec ID Event03)")
	}
	spec.bytes(8) // class, version, errata, size of uintn
	n := spec.uint32()
	if n == 0 || n > maxBanks {
		return nil, fmt.Errorf("header: %d hash algorithms, expected 1 to %d", n, maxBanks)
	}
	sizes := map[tpm2.TPMAlgID]uint16{}
	for range n {
		id := tpm2.TPMAlgID(spec.uint16())
		sizes[id] = spec.uint16()
		if b, ok := tpm.BankOf(id); ok && int(sizes[id]) != b.Hash().Size() {
			return nil, fmt.Errorf("header: digests of %s have %d bytes", b, sizes[id])
		}
	}
	if b := spec.bytes(1); b != nil {
		spec.bytes(uint64(b[0])) // the maker's
	}
	if spec.err != nil || len(spec.data) > 0 {
		return nil, errors.New("header: its list of hash algorithms has another length than it says")
	}
	return sizes, nil
}

func readRecord(r *reader, sizes map[tpm2.TPMAlgID]uint16) (Record, error) {
	pcr, kind, digests := r.uint32(), Type(r.uint32()), r.uint32()
	if r.err == nil && (pcr >= tpm.PCRs && kind != NoAction) {
		return Record{}, fmt.Errorf("it is of PCR %d", pcr)
	}
	if r.err == nil && digests > uint32(len(sizes)) {
		return Record{}, fmt.Errorf("%d digests, the header has %d hash algorithms", digests, len(sizes))
	}
	record := Record{PCR: int(pcr), Type: kind}
	for range digests {
		id := tpm2.TPMAlgID(r.uint16())
		size, ok := sizes[id]
		if r.err == nil && !ok {
			return Record{}, fmt.Errorf("digest of algorithm %#04x, which the header does not have", uint16(id))
		}
		switch digest := r.bytes(uint64(size)); id {
		case tpm2.TPMAlgSHA256:
			record.SHA256 = digest
		case tpm2.TPMAlgSHA384:
			record.SHA384 = digest
		}
	}
	record.Data = r.bytes(uint64(r.uint32()))
	return record, r.err
}
