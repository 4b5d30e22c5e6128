package broker

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/plainjson"
	"holdfast/internal/policy"
)

// keepAttested puts on disk what the session proved, until its token is of no
// use any more: its proofs may be written by a broker that was started since,
// or by another that shares the folder.
func (b *Broker) keepAttested(ctx context.Context, d *desk, s session, a *attestation, judged appraisal, token jws, by *x509.Certificate) error {
	configuration := ""
	if a.initData != nil {
		configuration = a.initData.Digest
	}
	judged = b.narrowAppraisal(ctx, judged, configuration)
	if b.cfg.Proofs == nil {
		b.keepDecision(ctx, judged.question, "attest", s.reference(), s.tee)
		return nil
	}
	decision, err := judged.proof(d.input)
	if d.input = decision.Input; err == nil {
		err = b.keepSession(ctx, d, s, a, judged, decision, token, by)
	}
	if err != nil {
		return fmt.Errorf("keep what the session proved: %w", err)
	}
	return nil
}

func (b *Broker) keepSession(ctx context.Context, d *desk, s session, a *attestation, judged appraisal, decision api.ProofDecision, token jws, by *x509.Certificate) error {
	k := keptAttestation{
		head: keptHead{Time: judged.at, Session: s.reference(), TEE: s.tee, Allow: decision.Allow, Trust: decision.Trust, Extensions: decision.Extensions,
			PolicyVersion: judged.by.version, PolicyDigest: judged.by.digest},
		message: a.body, input: decision.Input, data: decision.Data, token: token,
		certificate: cmp.Or(by, b.cfg.Proofs.TokenCertificate).Raw,
	}
	if s.offer != nil {
		k.offer = *s.offer
	}
	shown, err := judged.references.values, error(nil)
	if len(judged.devices) > 0 {
		shown = maps.Clone(shown)
		if k.head.Devices, err = b.inProof(ctx, judged.devices, shown); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(shown)) {
		k.references = append(k.references, judged.references.envelopes[id])
	}
	if chain := b.cfg.Proofs.EndorsementChain; chain != nil && s.offer != nil {
		if k.chain, err = chain(s.offer.EKCertificate); err != nil {
			return err
		}
	}
	// A minute more, for the clocks of those who share the state.
	until := b.cfg.Now().Add(b.cfg.TokenLife + time.Minute)
	if d.record, err = k.write(d.record); err != nil {
		return err
	}
	return b.state.KeepAttested(ctx, s.reference(), d.record, until, b.cfg.MaxSessions, judged.recorded(decision, "attest", s.reference(), s.tee, judged.at))
}

// proof is the question as proofs have it; its input is in the room.
func (q question) proof(room []byte) (api.ProofDecision, error) {
	all := q.input
	if q.claims != nil {
		all = maps.Clone(all)
		all["claims"] = q.claims
	}
	input, err := plainjson.Append(room, all)
	if err != nil {
		return api.ProofDecision{}, err
	}
	data, err := q.data.MarshalJSON()
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
	k, err := readKept(raw)
	if err != nil {
		return nil, refuse(http.StatusUnauthorized, kindNoToken, "what the session proved: %w", err)
	}
	source, err := b.policyByDigest(ctx, k.head.PolicyVersion, k.head.PolicyDigest)
	if err != nil {
		return nil, err
	}
	return k.attestation(source)
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
