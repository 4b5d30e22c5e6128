package events

import (
	"bytes"
	"fmt"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// Values are the PCRs of a bank that a TPM signed: 24.
type Values struct {
	Bank tpm.Bank
	PCRs [][]byte
}

// Replay parses log and checks that, in every bank, each PCR that it mentions
// comes to the value that was signed. It returns the records that were
// measured. Its errors are an attest.ErrEventLog; *attest.PCRError names the
// first PCR that the log does not explain.
func Replay(log []byte, signed []Values) ([]Record, error) {
	records, err := Parse(log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrEventLog, err)
	}
	for _, v := range signed {
		if err := replay(records, v); err != nil {
			return nil, err
		}
	}
	measured := records[:0:0]
	for i, r := range records {
		if r.Type == NoAction {
			continue
		}
		if !r.Type.known() {
			return nil, fmt.Errorf("%w: record %d of PCR %d has the unknown type %#x", attest.ErrEventLog, i+1, r.PCR, uint32(r.Type))
		}
		measured = append(measured, r)
	}
	return measured, nil
}

func replay(records []Record, v Values) error {
	var values [tpm.PCRs][]byte
	h := v.Bank.Hash().New()
	for i := range records {
		r := &records[i]
		switch {
		case r.Type == NoAction && r.PCR == 0 && values[0] == nil:
			values[0] = startup(r.Data, v.Bank)
			continue
		case r.Type == NoAction:
			continue
		}
		digest := r.Digest(v.Bank)
		if digest == nil {
			return fmt.Errorf("%w: record %d of PCR %d has no %s digest", attest.ErrEventLog, i+1, r.PCR, v.Bank)
		}
		if values[r.PCR] == nil {
			values[r.PCR] = make([]byte, h.Size())
		}
		h.Reset()
		h.Write(values[r.PCR])
		h.Write(digest)
		values[r.PCR] = h.Sum(values[r.PCR][:0])
	}
	for i, value := range values {
		if mentioned(records, i) && (i >= len(v.PCRs) || !bytes.Equal(value, v.PCRs[i])) {
			return &attest.PCRError{PCR: i, Bank: string(v.Bank)}
		}
	}
	return nil
}

func mentioned(records []Record, pcr int) bool {
	for i := range records {
		if records[i].PCR == pcr && records[i].Type != NoAction {
			return true
		}
	}
	return false
}

// startup is what PCR 0 begins with when the TPM was started from another
// locality than 0 (profile, 10.4.5.3).
func startup(data []byte, b tpm.Bank) []byte {
	locality, ok := bytes.CutPrefix(data, []byte("StartupLocality\x00"))
	if !ok || len(locality) != 1 {
		return nil
	}
	value := make([]byte, b.Hash().Size())
	value[len(value)-1] = locality[0]
	return value
}
