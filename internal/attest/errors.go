package attest

import (
	"errors"
	"fmt"
)

// Why evidence is refused. Each refusal wraps exactly one of these.
var (
	ErrMalformed      = errors.New("evidence is malformed")
	ErrEndorsement    = errors.New("endorsement is not trusted")
	ErrKeyAttributes  = errors.New("attestation key is not fit for quotes")
	ErrAttestationKey = errors.New("evidence is by another key than the one offered")
	ErrActivation     = errors.New("attestation key is not proven to be in the endorsed device")
	ErrSigner         = errors.New("attestation key is not proven to be in the endorsed device, nor does the quote name it as its signer")
	ErrSignature      = errors.New("signature does not verify")
	ErrNonce          = errors.New("evidence is not for this handshake: its quote is over another nonce or ephemeral key")
	ErrReplay         = errors.New("quote is of another handshake: the machine answered this one's challenge, and replayed an older quote")
	ErrPCRSelection   = errors.New("quote does not cover PCRs 0 to 23 of the SHA-256 bank")
	ErrPCRDigest      = errors.New("PCR values are not the quoted ones")
	ErrInitData       = errors.New("init-data was not measured, alone, into PCR 8")
	ErrEventLog       = errors.New("event log does not replay")
)

// A PCRError says whose value an event log does not explain. It is an
// ErrEventLog.
type PCRError struct {
	PCR int
}

func (e *PCRError) Error() string {
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
