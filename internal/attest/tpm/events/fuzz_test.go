package events

import (
	"encoding/json"
	"errors"
	"testing"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// come is what the PCRs of a bank come to, by the records.
func come(records []Record, b tpm.Bank) Values {
	v := Values{Bank: b, PCRs: make([][]byte, tpm.PCRs)}
	for i := range v.PCRs {
		v.PCRs[i] = make([]byte, b.Hash().Size())
	}
	for i := range records {
		if r := &records[i]; r.Type != NoAction && r.Digest(b) != nil {
			v.PCRs[r.PCR] = b.Extended(v.PCRs[r.PCR], r.Digest(b))
		}
	}
	return v
}

// Whatever a log says, it is refused as a log, or what it tells is written
// down, and each of its PCRs matters.
//
//fuzz:parser log.go replay.go efi.go secureboot.go tell.go gpt.go
func FuzzLog(f *testing.F) {
	for _, name := range []string{"Rhel8EventLog", "Ubuntu2404AmdSevSnpEventLog"} {
		f.Add(theirs[name], false)
		f.Add(theirs[name][:4000], true)
	}
	f.Fuzz(func(t *testing.T, log []byte, both bool) {
		records, err := Parse(log)
		if err != nil {
			return
		}
		banks := tpm.Banks()[:1]
		if both {
			banks = tpm.Banks()
		}
		var signed []Values
		for _, b := range banks {
			signed = append(signed, come(records, b))
		}
		measured, err := Replay(log, signed)
		if err != nil {
			if !errors.Is(err, attest.ErrEventLog) {
				t.Errorf("got %v, want %v", err, attest.ErrEventLog)
			}
			return
		}
		claims, err := Tell(measured, banks)
		if err != nil {
			return
		}
		if _, err := json.Marshal(claims); err != nil {
			t.Error(err)
		}
		for _, pcr := range claims["event_log_pcrs"].([]int) {
			signed[0].PCRs[pcr][0] ^= 1
			if _, err := Replay(log, signed); !errors.Is(err, attest.ErrEventLog) {
				t.Errorf("PCR %d has another value, and the log explains it: %v", pcr, err)
			}
			signed[0].PCRs[pcr][0] ^= 1
		}
	})
}
