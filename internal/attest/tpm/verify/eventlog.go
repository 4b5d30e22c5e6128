package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
)

// What the PCRs named here hold (UAPI group, Linux TPM PCR Registry).
const (
	bootPCR       = 4  // programs that firmware started
	secureBootPCR = 7  // Secure Boot state and keys
	ukiPCR        = 11 // the UKI's sections, by systemd-stub
)

// explain replays log and adds what it says of the boot to claims. Every PCR
// that the log mentions must replay to its quoted value.
func explain(log []byte, q *Quote, claims attest.Claims) error {
	events, err := replay(log, q)
	if err != nil {
		return err
	}
	return tell(events, claims)
}

// tell adds what replayed events say to claims.
func tell(events []tcg.Event, claims attest.Claims) error {
	var pcrs []int
	for _, e := range events {
		if !slices.Contains(pcrs, e.Index) {
			pcrs = append(pcrs, e.Index)
		}
	}
	slices.Sort(pcrs)
	claims["event_log_pcrs"] = pcrs
	if err := secureBoot(events, claims); err != nil {
		return err
	}
	if digests := bootPrograms(events); len(digests) > 0 {
		claims["boot_programs"] = digests
	}
	if sections := ukiSections(events); len(sections) > 0 {
		claims["uki_sections"] = sections
	}
	return nil
}

func replay(log []byte, q *Quote) ([]tcg.Event, error) {
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", attest.ErrEventLog, err)
	}
	var events []tcg.Event
	for _, b := range slices.Backward(q.Banks) {
		if events, err = replayBank(parsed, b, q.Values(b)); err != nil {
			return nil, err
		}
	}
	return events, nil
}

func replayBank(parsed *tcg.EventLog, b tpm.Bank, values [][]byte) ([]tcg.Event, error) {
	registers := make([]register.MR, len(values))
	for i := range values {
		registers[i] = register.PCR{Index: i, Digest: values[i], DigestAlg: b.Hash()}
	}
	events, err := parsed.Verify(registers)
	var failed tcg.ReplayError
	switch {
	case errors.As(err, &failed) && len(failed.InvalidMRs) > 0:
		return nil, &attest.PCRError{PCR: slices.Min(failed.InvalidMRs), Bank: string(b)}
	case err != nil:
		return nil, fmt.Errorf("%w: %w", attest.ErrEventLog, err)
	}
	for _, e := range events {
		if _, known := e.Type.KnownName(); !known { // go-eventlog panics on these
			return nil, fmt.Errorf("%w: event of unknown type %#x in PCR %d", attest.ErrEventLog, uint32(e.Type), e.Index)
		}
	}
	return events, nil
}

// secureBoot says whether firmware checked signatures, where the log tells.
func secureBoot(events []tcg.Event, claims attest.Claims) error {
	told := func(e tcg.Event) bool { return e.Index == secureBootPCR }
	if !slices.ContainsFunc(events, told) {
		return nil
	}
	state, err := extract.ParseSecurebootState(events, extract.TPMRegisterConfig)
	if err != nil {
		return &attest.SecureBootError{Err: err}
	}
	claims["secure_boot"] = state.Enabled
	return nil
}

// bootPrograms are the Authenticode digests of what was started, in order: a
// UKI, then the kernel in it when Secure Boot is off.
func bootPrograms(events []tcg.Event) []string {
	var digests []string
	for _, e := range events {
		if e.Index == bootPCR && e.Type == tcg.EFIBootServicesApplication {
			digests = append(digests, hex.EncodeToString(e.Digest))
		}
	}
	return digests
}

// ukiSections are the digests of a UKI's sections. systemd-stub measures each
// as two events, the section's name and then its bytes, which both carry the
// name in UTF-16.
func ukiSections(events []tcg.Event) map[string]string {
	sections := map[string]string{}
	name := ""
	for _, e := range events {
		if e.Index != ukiPCR || e.Type != tcg.Ipl {
			continue
		}
		text := utf16Text(e.Data)
		if sum := sha256.Sum256([]byte(text + "\x00")); name == "" && string(e.Digest) == string(sum[:]) {
			name = text
			continue
		}
		if name != "" && text == name {
			sections[name] = hex.EncodeToString(e.Digest)
		}
		name = ""
	}
	return sections
}
