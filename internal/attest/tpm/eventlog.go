package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// InitDataEvent is the event field of the record in the log.
const InitDataEvent = "holdfast init-data\x00"

// The record is an EV_IPL, as loaders write for PCR 8 and every reader of logs
// prints: its event field names the thing whose digest was measured. An
// EV_EVENT_TAG would need a number that nobody else uses, and no registry has
// them. (TCG PC Client Platform Firmware Profile 1.05, 10.4.1.)
const evIPL = 0x0000000d

// MeasureInitData extends the SHA-256 of document into PCR 8 of every bank and
// logs it. Call it once, before anything in the document is used; the digest is
// returned.
func (a *Attester) MeasureInitData(ctx context.Context, document []byte) ([sha256.Size]byte, error) {
	return a.Measure(ctx, InitDataPCR, "init-data", InitDataEvent, document)
}

// Measure is MeasureInitData for another PCR and event; what is for errors.
func (a *Attester) Measure(ctx context.Context, pcr uint32, what, event string, document []byte) ([sha256.Size]byte, error) {
	digest := sha256.Sum256(document)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return digest, err
	}
	kept, err := a.keptBanks()
	if err != nil {
		return digest, fmt.Errorf("measure %s into PCR %d: %w", what, pcr, err)
	}
	extend := tpm2.PCRExtend{PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)}}
	for _, b := range kept {
		extend.Digests.Digests = append(extend.Digests.Digests, tpm2.TPMTHA{HashAlg: b.ID(), Digest: b.Measured(digest[:])})
	}
	if _, err := extend.Execute(a.tpm); err != nil {
		return digest, fmt.Errorf("measure %s into PCR %d: %w", what, pcr, err)
	}
	if len(a.log) == 0 {
		a.log = logHeader(kept)
	}
	a.log = appendRecord(a.log, pcr, evIPL, announced(a.log, kept), digest[:], event)
	return digest, nil
}

// announced are those of banks whose digests the log's header says its records
// have: readers know no others.
func announced(log []byte, banks []Bank) []Bank {
	const counted = headerSize + 24 // the number of algorithms in a TCG_EfiSpecIDEvent
	le := binary.LittleEndian
	if len(log) < counted+4 {
		return banks
	}
	var known []Bank
	list := log[counted+4:]
	for range le.Uint32(log[counted:]) {
		if len(list) < 4 {
			break
		}
		if b, ok := BankOf(tpm2.TPMAlgID(le.Uint16(list))); ok && slices.Contains(banks, b) {
			known = append(known, b)
		}
		list = list[4:]
	}
	return known
}

// headerSize is that of a TCG_PCR_EVENT without its event.
const headerSize = 4 + 4 + 20 + 4

// EventLog is the firmware's log and what was measured since.
func (a *Attester) EventLog() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]byte(nil), a.log...)
}

// appendRecord appends a TCG_PCR_EVENT2 (Firmware Profile 1.05, 10.2.2).
func appendRecord(log []byte, pcr, event uint32, banks []Bank, digest []byte, data string) []byte {
	le := binary.LittleEndian
	log = le.AppendUint32(log, pcr)
	log = le.AppendUint32(log, event)
	log = le.AppendUint32(log, uint32(len(banks)))
	for _, b := range banks {
		log = le.AppendUint16(log, uint16(b.ID()))
		log = append(log, b.Measured(digest)...)
	}
	log = le.AppendUint32(log, uint32(len(data)))
	return append(log, data...)
}

// logHeader begins a log where the firmware left none: a TCG_PCR_EVENT holding
// a TCG_EfiSpecIDEvent that announces banks (Firmware Profile 1.05, 10.2.1 and
// 10.4.5.1).
func logHeader(banks []Bank) []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0) // platform class: client
	spec = append(spec, 0, 2, 0, 2)                           // version 2.0, errata 0, uintn of 64 bits
	spec = le.AppendUint32(spec, uint32(len(banks)))
	for _, b := range banks {
		spec = le.AppendUint16(spec, uint16(b.ID()))
		spec = le.AppendUint16(spec, uint16(b.Hash().Size()))
	}
	spec = append(spec, 0) // no vendor information
	const evNoAction = 3
	log := le.AppendUint32(nil, 0)
	log = le.AppendUint32(log, evNoAction)
	log = append(log, make([]byte, 20)...) // SHA-1 digest of an event that is not measured
	log = le.AppendUint32(log, uint32(len(spec)))
	return append(log, spec...)
}
