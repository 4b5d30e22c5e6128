package verify

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"maps"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/events"
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
	o, err := v.judgeEndorsement(sha256.Sum256(a.EKCertificate), &a)
	if !r.step(StepEndorsement, err) {
		return r
	}
	r.Device = o.device
	if o.akPublic, o.akName, err = v.heads.attestationKey(a.AKPublic); !r.step(StepAttestationKey, err) {
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
	if e.AKPublic == o.akText && o.akText != "" {
		return nil
	}
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
		records, err := replay(e.EventLog, r.Quote)
		var told attest.Claims
		if err == nil {
			told, err = events.Tell(records, r.Quote.Banks)
		}
		if !r.step(StepEventLog, err) {
			return
		}
		maps.Copy(claims, told)
		r.Events = describe(records, r.Quote.Banks)
	}
	r.Claims = claims
}

// describe puts records into words.
func describe(records []events.Record, banks []tpm.Bank) []Event {
	out := make([]Event, len(records))
	d := describer{banks: banks}
	for i := range records {
		out[i] = d.describe(&records[i])
	}
	return out
}
