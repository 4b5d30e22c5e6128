package broker

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/policy"
)

// keepAttested puts on disk what the session proved, until its token is of no
// use any more: its proofs may be written by a broker that was started since,
// or by another that shares the folder.
func (b *Broker) keepAttested(ctx context.Context, s session, a *attestation, judged appraisal, token string, by *x509.Certificate) error {
	configuration := ""
	if a.initData != nil {
		configuration = a.initData.Digest
	}
	judged = b.narrowAppraisal(ctx, judged, configuration)
	if b.cfg.Proofs == nil {
		b.keepDecision(ctx, judged.question, "attest", s.reference(), s.tee)
		return nil
	}
	record, err := b.attested(s, a, judged, token, by)
	if err != nil {
		return fmt.Errorf("keep what the session proved: %w", err)
	}
	record.Policy.Policy = ""
	raw, err := json.Marshal(keptAttestation{*record, judged.by.version, judged.by.digest})
	if err != nil {
		return err
	}
	// A minute more, for the clocks of those who share the state.
	until := b.cfg.Now().Add(b.cfg.TokenLife + time.Minute)
	decision := judged.recorded(record.Policy, "attest", s.reference(), s.tee, judged.at)
	return b.state.KeepAttested(ctx, s.reference(), raw, until, b.cfg.MaxSessions, decision)
}

func (b *Broker) attested(s session, a *attestation, judged appraisal, token string, by *x509.Certificate) (*api.ProofAttestation, error) {
	decision, err := judged.proof()
	if err != nil {
		return nil, err
	}
	record := &api.ProofAttestation{
		Time: judged.at, Session: s.reference(), TEE: s.tee, Message: a.KBSAttestation,
		EndorsementChain: [][]byte{}, References: [][]byte{}, Policy: decision, Token: token,
		TokenCertificate: cmp.Or(by, b.cfg.Proofs.TokenCertificate).Raw,
	}
	if s.offer != nil {
		record.Offer = *s.offer
	}
	for _, id := range slices.Sorted(maps.Keys(judged.references.values)) {
		record.References = append(record.References, judged.references.envelopes[id])
	}
	if chain := b.cfg.Proofs.EndorsementChain; chain != nil && s.offer != nil {
		record.EndorsementChain, err = chain(s.offer.EKCertificate)
	}
	return record, err
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
	var a keptAttestation
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	if a.Policy.Policy == "" {
		a.Policy.Policy, err = b.policyByDigest(ctx, a.PolicyVersion, a.PolicyDigest)
	}
	return &a.ProofAttestation, err
}

// A keptAttestation has its policy by name: it is longer than all the rest.
type keptAttestation struct {
	api.ProofAttestation
	PolicyVersion int64  `json:"policy_version"`
	PolicyDigest  string `json:"policy_digest"`
}

// policyByDigest is an attestation policy of which a session's record tells.
func (b *Broker) policyByDigest(ctx context.Context, version int64, digest string) (string, error) {
	sources := append(policy.Earlier(attestationPolicy), shipped[attestationPolicy])
	if version > 0 {
		v, err := b.state.Version(ctx, api.PolicyKind, version)
		if err != nil {
			return "", absent(err, "version %d of the policies, which admitted the machine, is not kept any more: attest again", version)
		}
		sources = []string{string(v.Content)}
	}
	for _, source := range sources {
		if digestOf([]byte(source)) == digest {
			return source, nil
		}
	}
	return "", refuse(http.StatusUnauthorized, kindNoToken, "the policy that admitted the machine is not kept any more: attest again")
}
