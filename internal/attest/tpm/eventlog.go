package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// InitDataEvent is the event field of the record in the log.
const InitDataEvent = "holdfast init-data\x00"

// The record is an EV_IPL, as loaders write for PCR 8 and every reader of logs
// prints: its event field names the thing whose digest was measured. An
// EV_EVENT_TAG would need a number that nobody else uses, and no registry has
// them. (TCG PC Client Platform Firmware Profile 1.05, 10.4.1.)
const evIPL = 0x0000000d

// MeasureInitData extends the SHA-256 of document into PCR 8 and logs it. Call
// it once, before anything in the document is used; the digest is returned.
func (a *Attester) MeasureInitData(ctx context.Context, document []byte) ([sha256.Size]byte, error) {
	digest := sha256.Sum256(document)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return digest, err
	}
	_, err := tpm2.PCRExtend{
		PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(InitDataPCR), Auth: tpm2.PasswordAuth(nil)},
		Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: digest[:]}}},
	}.Execute(a.tpm)
	if err != nil {
		return digest, fmt.Errorf("measure init-data into PCR %d: %w", InitDataPCR, err)
	}
	if len(a.log) == 0 {
		a.log = logHeader()
	}
	a.log = appendRecord(a.log, InitDataPCR, evIPL, digest, InitDataEvent)
	return digest, nil
}

// EventLog is the firmware's log and what was measured since.
func (a *Attester) EventLog() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]byte(nil), a.log...)
}

// appendRecord appends a TCG_PCR_EVENT2 with one digest (Firmware Profile
// 1.05, 10.2.2).
func appendRecord(log []byte, pcr, event uint32, digest [sha256.Size]byte, data string) []byte {
	le := binary.LittleEndian
	log = le.AppendUint32(log, pcr)
	log = le.AppendUint32(log, event)
	log = le.AppendUint32(log, 1)
	log = le.AppendUint16(log, uint16(tpm2.TPMAlgSHA256))
	log = append(log, digest[:]...)
	log = le.AppendUint32(log, uint32(len(data)))
	return append(log, data...)
}

// logHeader begins a log where the firmware left none: a TCG_PCR_EVENT holding
// a TCG_EfiSpecIDEvent that announces SHA-256 alone (Firmware Profile 1.05,
// 10.2.1 and 10.4.5.1).
func logHeader() []byte {
	le := binary.LittleEndian
	spec := append([]byte("Spec ID Event03\x00"), 0, 0, 0, 0) // platform class: client
	spec = append(spec, 0, 2, 0, 2)                           // version 2.0, errata 0, uintn of 64 bits
	spec = le.AppendUint32(spec, 1)
	spec = le.AppendUint16(spec, uint16(tpm2.TPMAlgSHA256))
	spec = le.AppendUint16(spec, sha256.Size)
	spec = append(spec, 0) // no vendor information
	const evNoAction = 3
	log := le.AppendUint32(nil, 0)
	log = le.AppendUint32(log, evNoAction)
	log = append(log, make([]byte, 20)...) // SHA-1 digest of an event that is not measured
	log = le.AppendUint32(log, uint32(len(spec)))
	return append(log, spec...)
}
