package broker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"holdfast/internal/api"
)

// keepAttested puts on disk what the session proved, until its token is of no
// use any more: its proofs may be written by a broker that was started since,
// or by another that shares the folder.
func (b *Broker) keepAttested(ctx context.Context, s session, a *attestation, judged appraisal, token string) error {
	if b.cfg.Proofs == nil {
		b.keepDecision(ctx, judged.question, "attest", s.reference(), s.tee)
		return nil
	}
	record, err := b.attested(ctx, s, a, judged, token)
	if err != nil {
		return fmt.Errorf("keep what the session proved: %w", err)
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	// A minute more, for the clocks of those who share the state.
	until := b.cfg.Now().Add(b.cfg.TokenLife + time.Minute)
	decision := judged.recorded(record.Policy, "attest", s.reference(), s.tee, judged.at)
	return b.state.KeepAttested(ctx, s.reference(), raw, until, b.cfg.MaxSessions, decision)
}

func (b *Broker) attested(ctx context.Context, s session, a *attestation, judged appraisal, token string) (*api.ProofAttestation, error) {
	configuration := ""
	if a.initData != nil {
		configuration = a.initData.Digest
	}
	judged = b.narrowAppraisal(ctx, judged, configuration)
	decision, err := judged.proof()
	if err != nil {
		return nil, err
	}
	record := &api.ProofAttestation{
		Time: judged.at, Session: s.reference(), TEE: s.tee, Message: a.KBSAttestation,
		EndorsementChain: [][]byte{}, References: [][]byte{}, Policy: decision, Token: token,
		TokenCertificate: cmp.Or(certificateOf(token), b.cfg.Proofs.TokenCertificate).Raw,
	}
	if s.offer != nil {
		record.Offer = *s.offer
	}
	for _, id := range slices.Sorted(maps.Keys(judged.references.values)) {
		record.References = append(record.References, judged.references.envelopes[id])
	}
	if chain := b.cfg.Proofs.EndorsementChain; chain != nil {
		record.EndorsementChain, err = chain()
	}
	return record, err
}

// narrowAppraisal leaves out images and configurations that are no matter to
// this machine, unless the policy says that they are: a proof tells no more of
// a broker than it must.
func (b *Broker) narrowAppraisal(ctx context.Context, full appraisal, configuration string) appraisal {
	narrow := full
	var same bool
	if narrow.question, narrow.references, same = b.narrow(ctx, full.question, full.claims, configuration); !same {
		return full
	}
	return narrow
}

// narrow asks again with no more data than what is about a machine. It tells
// whether the answer is the same; if not, the question stays as it was.
func (b *Broker) narrow(ctx context.Context, full question, claims map[string]any, configuration string) (question, references, bool) {
	data, references := full.rules.only(full.data, claims, configuration)
	again := b.decide(ctx, full.rules, full.kind, full.input, data)
	if !reflect.DeepEqual(again.Decision, full.Decision) {
		return full, references, false
	}
	return again, references, true
}

// proof is the question as proofs have it.
func (q question) proof() (api.ProofDecision, error) {
	input, err := json.Marshal(q.input)
	if err != nil {
		return api.ProofDecision{}, err
	}
	data, err := json.Marshal(q.data)
	return api.ProofDecision{Policy: q.by.source, Input: input, Data: data, Allow: q.Allow, Trust: q.Trust, Extensions: q.Named()}, err
}

func (b *Broker) readAttested(ctx context.Context, session string) (*api.ProofAttestation, error) {
	if !sessionForm.MatchString(session) {
		return nil, refuse(http.StatusUnauthorized, kindToken, "Token Verifier error: it names no session")
	}
	raw, err := b.state.Attested(ctx, session)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(http.StatusUnauthorized, kindNoToken, "what the session proved is not kept any more: attest again")
	}
	if err != nil {
		return nil, err
	}
	var a api.ProofAttestation
	return &a, json.Unmarshal(raw, &a)
}
