package attack

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/api"
	"holdfast/internal/attest/kbc"
	"holdfast/internal/attest/tpm/impostor"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/swtpm"
)

// A liar offers other keys than its attester's.
type liar struct {
	kbc.Attester
	offer func(*api.ActivationOffer)
	prove func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error)
}

func (i *liar) Offer(ctx context.Context) (*api.ActivationOffer, error) {
	genuine, err := i.Attester.Offer(ctx)
	if err != nil {
		return nil, err
	}
	changed := *genuine
	i.offer(&changed)
	return &changed, nil
}

func (i *liar) Evidence(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
	return i.prove(ctx, digest, c)
}

// errActivated says that a TPM did what no TPM may.
var errActivated = errors.New("the TPM activated a credential for a key that it does not hold")

// genuine is evidence of a's TPM for a handshake of its own making: as near as
// one comes who cannot answer the broker's challenge.
func (s *site) genuine(ctx context.Context, a kbc.Attester, digest []byte) (json.RawMessage, error) {
	offer, err := a.Offer(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := swtpm.CA(s.installation.TPMAuthority())
	if err != nil {
		return nil, err
	}
	verifier, err := verify.New(verify.Config{Roots: roots})
	if err != nil {
		return nil, err
	}
	session, err := verifier.Begin(api.RequestParams{Activation: offer})
	if err != nil {
		return nil, err
	}
	return a.Evidence(ctx, digest, session.Challenge().Activation)
}

func selfMadeKey(ctx context.Context, s *site) (*suspect, error) {
	return s.selfMade(ctx, func(key *impostor.Key, e *api.TPMEvidence, _ []byte) error { return key.Sign(e) })
}

func selfMadeQuote(ctx context.Context, s *site) (*suspect, error) {
	return s.selfMade(ctx, func(key *impostor.Key, e *api.TPMEvidence, digest []byte) error {
		return key.Quote(e, digest[:sha256.Size])
	})
}

// selfMade is a machine whose key lives in software and vouches for evidence
// by forge.
func (s *site) selfMade(ctx context.Context, forge func(*impostor.Key, *api.TPMEvidence, []byte) error) (*suspect, error) {
	key, err := impostor.NewKey()
	if err != nil {
		return nil, err
	}
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	genuine := g.Attester
	prove := func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
		if _, err := genuine.Evidence(ctx, digest, c); err == nil {
			return nil, errActivated
		}
		raw, err := s.genuine(ctx, genuine, digest)
		if err != nil {
			return nil, err
		}
		return altered(raw, func(e *api.TPMEvidence) error { return forge(key, e, digest) })
	}
	g.Attester = &liar{genuine, func(o *api.ActivationOffer) { o.AKPublic = tpm2.Marshal(key.Public()) }, prove}
	return g, nil
}

// relayed offers one TPM's keys and shows evidence of another.
func relayed(ctx context.Context, s *site) (*suspect, error) {
	g, other, err := s.two(ctx)
	if err != nil {
		return nil, err
	}
	prove := func(ctx context.Context, digest []byte, _ *api.ActivationChallenge) (json.RawMessage, error) {
		return s.genuine(ctx, other, digest)
	}
	g.Attester = &liar{g.Attester, func(*api.ActivationOffer) {}, prove}
	return g, nil
}

// mixedKeys shows one TPM's endorsement and signs with another TPM's key.
func mixedKeys(ctx context.Context, s *site) (*suspect, error) {
	g, other, err := s.two(ctx)
	if err != nil {
		return nil, err
	}
	endorsed := g.Attester
	genuine, err := endorsed.Offer(ctx)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	prove := func(ctx context.Context, digest []byte, c *api.ActivationChallenge) (json.RawMessage, error) {
		for _, a := range []kbc.Attester{endorsed, other} {
			if _, err := a.Evidence(ctx, digest, c); err == nil {
				return nil, errActivated
			}
		}
		return s.genuine(ctx, other, digest)
	}
	g.Attester = &liar{other, func(o *api.ActivationOffer) {
		o.EKCertificate, o.EKPublic = genuine.EKCertificate, genuine.EKPublic
	}, prove}
	return g, nil
}

// two boots an honest machine, and another with a good TPM of its own, which
// goes off with the first.
func (s *site) two(ctx context.Context) (g *suspect, other kbc.Attester, err error) {
	if g, err = s.honest(ctx); err != nil {
		return nil, nil, err
	}
	second, err := s.boot(ctx, start{tpm: otherTPM, document: g.document})
	if err != nil {
		return nil, nil, errors.Join(err, g.Close())
	}
	g.undo = second.Close
	return g, second.Attester, nil
}

func foreignMaker(ctx context.Context, s *site) (*suspect, error) {
	document, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return s.boot(ctx, start{tpm: foreignTPM, document: document})
}
