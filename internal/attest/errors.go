package attest

import (
	"errors"
	"fmt"
)

// Why evidence is refused. Each refusal wraps exactly one of these.
var (
	ErrMalformed      = errors.New("evidence is malformed")
	ErrEndorsement    = errors.New("endorsement is not trusted")
	ErrExpired        = errors.New("endorsement is not valid at this time")
	ErrRevoked        = errors.New("endorsement was revoked")
	ErrRevocationList = errors.New("revocation list is out of date")
	ErrKeyAttributes  = errors.New("attestation key is not fit for quotes")
	ErrAttestationKey = errors.New("evidence is by another key than the one offered")
	ErrActivation     = errors.New("attestation key is not proven to be in the endorsed device")
	ErrOtherDevice    = errors.New("attestation key is in another device than the endorsed one: it was activated there before")
	ErrUnlisted       = errors.New("attestation key was not activated (extra-params has no tpm-activation), and is not on this broker's list of trusted attestation keys")
	ErrSigner         = errors.New("attestation key is not proven to be in the endorsed device, nor does the quote name it as its signer")
	ErrSignature      = errors.New("signature does not verify")
	ErrNonce          = errors.New("evidence is not for this handshake: its quote is over another nonce or ephemeral key")
	ErrReplay         = errors.New("quote is of another handshake: the machine answered this one's challenge, and replayed an older quote")
	ErrSeen           = errors.New("quote was shown here before: it is a replay of an earlier handshake's")
	ErrBank           = errors.New("PCRs are of a bank that is not accepted")
	ErrPCRSelection   = errors.New("quote does not cover PCRs 0 to 23 of each of its banks, once")
	ErrPCRDigest      = errors.New("PCR values are not the quoted ones")
	ErrInitData       = errors.New("init-data was not measured, alone, into PCR 8")
	ErrEventLog       = errors.New("event log does not replay")
)

// A BankError names the bank of PCRs that was quoted, or is missing. It is an
// ErrBank.
type BankError struct {
	Quoted, Missing string // one of them
}

func (e *BankError) Error() string {
	if e.Missing != "" {
		return fmt.Sprintf("%v: the quote has no PCRs of the %s bank, which reference values are of", ErrBank, e.Missing)
	}
	return fmt.Sprintf("%v: the quote has PCRs of the %s bank", ErrBank, e.Quoted)
}

// Is makes errors.Is(err, ErrBank) true.
func (e *BankError) Is(target error) bool { return target == ErrBank }

// A PCRError says whose value an event log does not explain. It is an
// ErrEventLog.
type PCRError struct {
	PCR  int
	Bank string // "" is sha256
}

func (e *PCRError) Error() string {
	if e.Bank != "" && e.Bank != "sha256" {
		return fmt.Sprintf("%v to the quoted value of PCR %d of the %s bank", ErrEventLog, e.PCR, e.Bank)
	}
	return fmt.Sprintf("%v to the quoted value of PCR %d", ErrEventLog, e.PCR)
}

// Is makes errors.Is(err, ErrEventLog) true.
func (e *PCRError) Is(target error) bool { return target == ErrEventLog }

// A SecureBootError says what is wrong with the Secure Boot state that an event
// log tells of, although it replays. It is an ErrEventLog.
type SecureBootError struct{ Err error }

func (e *SecureBootError) Error() string {
	return fmt.Sprintf("event log replays, but its Secure Boot state is not one of a good boot: %v", e.Err)
}

// Is makes errors.Is(err, ErrEventLog) true.
func (e *SecureBootError) Is(target error) bool { return target == ErrEventLog }

func (e *SecureBootError) Unwrap() error { return e.Err }
