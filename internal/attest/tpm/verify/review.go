package verify

import (
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/google/go-eventlog/tcg"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// A Review is evidence judged again, by somebody who was no part of the
// handshake: everything but the activation, whose secret only the verifier and
// the machine ever had.
type Review struct {
	Steps  []Step        // as far as they went: only the last can have failed
	Claims attest.Claims // those of the handshake; nil when a step failed
	Quote  *Quote        // nil unless its signature and PCR values are good
	Events []Event       // of the log, in its order
	Device map[string]string
}

// A Step of a review. Its name is what went wrong when Err is not nil.
type Step struct {
	Name string
	Err  error
}

// The names of the steps, in their order.
const (
	StepEndorsement    = "endorsement certificate"
	StepAttestationKey = "attestation key"
	StepQuote          = "quote signature"
	StepPCRs           = "PCR values"
	StepHandshake      = "nonce and ephemeral key"
	StepInitData       = "configuration in PCR 8"
	StepEventLog       = "event log"
)

// Review judges evidence of a handshake that is over.
func (v *Verifier) Review(a api.ActivationOffer, evidence json.RawMessage, bound attest.Binding) *Review {
	r := &Review{}
	o, err := v.judgeEndorsement(&a)
	if !r.step(StepEndorsement, err) {
		return r
	}
	r.Device = o.device
	if o.akPublic, o.akName, err = attestationKey(a.AKPublic); !r.step(StepAttestationKey, err) {
		return r
	}
	e, err := Parse(evidence)
	if err == nil {
		err = o.made(e)
	}
	if err != nil {
		r.step(StepQuote, err)
		return r
	}
	if r.quote(v, e.Quote, o.akPublic); r.Quote != nil {
		r.bind(o, e, bound)
	}
	return r
}

func (r *Review) step(name string, err error) bool {
	r.Steps = append(r.Steps, Step{name, err})
	return err == nil
}

// made checks that e names the offered attestation key.
func (o offer) made(e *api.TPMEvidence) error {
	key, err := ParseKey(e.AKPublic)
	if err == nil && !key.Equal(o.akPublic) {
		err = attest.ErrAttestationKey
	}
	return err
}

func (r *Review) quote(v *Verifier, q api.TPMQuote, key publicKey) {
	quote, err := v.quote(q, key)
	if err == nil {
		r.Quote = quote
	}
	aboutPCRs := errors.Is(err, attest.ErrPCRDigest) || errors.Is(err, attest.ErrPCRSelection) || errors.Is(err, attest.ErrBank)
	if err != nil && !aboutPCRs {
		r.step(StepQuote, err)
		return
	}
	r.step(StepQuote, nil)
	r.step(StepPCRs, err)
}

// bind goes from a good quote to claims.
func (r *Review) bind(o offer, e *api.TPMEvidence, bound attest.Binding) {
	var err error
	if !isFor(r.Quote, bound) {
		err = attest.ErrNonce
	}
	if !r.step(StepHandshake, err) || !r.step(StepInitData, configured(r.Quote, bound)) {
		return
	}
	claims := o.claims(e, r.Quote, bound)
	if len(e.EventLog) > 0 {
		events, err := replay(e.EventLog, r.Quote)
		if err == nil {
			err = tell(events, claims)
		}
		if !r.step(StepEventLog, err) {
			return
		}
		r.Events = describe(events)
	}
	r.Claims = claims
}

// describe puts events into words.
func describe(events []tcg.Event) []Event {
	out := make([]Event, len(events))
	section := "" // of the UKI, whose name was measured last
	for i, e := range events {
		out[i] = Event{PCR: e.Index, Type: e.Type.TCGString(), Digest: hex.EncodeToString(e.Digest)}
		out[i].Text, out[i].Proven = words(e, &section)
	}
	return out
}
