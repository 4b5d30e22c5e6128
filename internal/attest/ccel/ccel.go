// Package ccel reads the event log of a confidential machine's firmware and
// replays it (UEFI 2.11, section 38; the ACPI table CCEL leads to it).
//
// A log explains measurement registers and is believed only as far as it
// replays to them: digests are then known to be right. What an event says
// beside its digest is the machine's word, unless the digest is that of the
// event's own data.
package ccel

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"holdfast/internal/attest"
)

// RTMRs is how many registers a machine under TDX has; MRTD comes before them
// in the log's numbers.
const RTMRs = 4

// maxLog bounds what is read; firmware reserves 64 KiB to 1 MiB.
const maxLog = 1 << 20

// A Log is a list of events in the order in which they were measured.
type Log struct{ events []tcg.Event }

// Parse reads a log, with or without the padding that firmware leaves after it.
func Parse(raw []byte) (*Log, error) {
	if len(raw) > maxLog {
		return nil, fmt.Errorf("%w: event log has %d bytes, at most %d are read", attest.ErrMalformed, len(raw), maxLog)
	}
	parsed, err := tcg.ParseEventLog(unpadded(raw), tcg.ParseOpts{AllowPadding: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrEventLog, err)
	}
	l := &Log{events: parsed.Events(register.HashSHA384)}
	for _, e := range l.events {
		if len(e.Digest) != sha512.Size384 {
			return nil, fmt.Errorf("%w: an event of register %d has no SHA-384 digest", attest.ErrEventLog, e.Index)
		}
		if _, known := e.Type.KnownName(); !known { // go-eventlog panics on these
			return nil, fmt.Errorf("%w: event of unknown type %#x in register %d", attest.ErrEventLog, uint32(e.Type), e.Index)
		}
	}
	return l, nil
}

// Replay computes RTMR 0 to 3. The log numbers them from 1.
func (l *Log) Replay() [RTMRs][sha512.Size384]byte {
	var registers [RTMRs][sha512.Size384]byte
	for _, e := range l.events {
		if n := e.Index - 1; n >= 0 && n < RTMRs && e.Type != tcg.NoAction {
			registers[n] = sha512.Sum384(append(registers[n][:], e.Digest...))
		}
	}
	return registers
}

// Claims tells of each event in Trustee's form (deps/eventlog).
func (l *Log) Claims() []map[string]any {
	list := make([]map[string]any, 0, len(l.events))
	for _, e := range l.events {
		own := sha512.Sum384(e.Data)
		name := e.Type.TCGString()
		list = append(list, map[string]any{
			"index": e.Index, "type_name": name, "event": base64.StdEncoding.EncodeToString(e.Data),
			"digests":              []map[string]string{{"alg": "SHA-384", "digest": hex.EncodeToString(e.Digest)}},
			"digest_matches_event": bytes.Equal(own[:], e.Digest),
			"details":              details(e),
		})
	}
	return list
}
