package attack

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest/tpm/verify"
)

// honest shows that the broker gives a machine what it may have.
var honest = Control{Name: "an honest machine is given its key", Run: honestMachine}

func honestMachine(ctx context.Context, l *Lab) error {
	s, err := l.site(ctx)
	if err != nil {
		return err
	}
	g, err := s.honest(ctx)
	if err != nil {
		return err
	}
	defer g.Close()
	value, err := g.fetch(ctx, ownKey)
	if err == nil && string(value) != ownValue {
		err = fmt.Errorf("it was given %q", value)
	}
	return err
}

// honest boots a machine that may have its key.
func (s *site) honest(ctx context.Context) (*suspect, error) {
	document, err := s.authorised(ctx, "own", ownKey)
	if err != nil {
		return nil, err
	}
	return s.boot(ctx, start{document: document})
}

// A lie makes a suspect out of a site.
type lie func(ctx context.Context, s *site) (*suspect, error)

// lying is an attack by a machine that asks for the key that an honest one
// would be given.
func lying(name, group, promise, change, reason string, tell lie) Attack {
	return Attack{Name: name, Group: group, Promise: promise, Change: change,
		Want: Refusal{Broker, reason}, Control: honest,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			g, err := tell(ctx, s)
			if err != nil {
				return Refusal{}, err
			}
			defer g.Close()
			return s.decided(ctx, func() ([]byte, error) { return g.fetch(ctx, ownKey) })
		}}
}

const fresh = "evidence is for one handshake"

func evidenceAttacks() []Attack {
	return []Attack{
		lying("replayed-quote", "evidence", fresh, "the machine answers the challenge, but shows a quote of before it was broken into",
			"replayed an older quote", replaying),
		lying("another-nonce", "evidence", fresh, "the nonce in the message is another than the broker's",
			"the nonce is not the one of this session's challenge", anotherNonce),
	}
}

// replaying answers this handshake's challenge but shows the quote of one
// before it, made when the machine was still good.
func replaying(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	old, err := s.genuine(ctx, g.Attester, bytes.Repeat([]byte{7}, 48))
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	parsed, err := verify.Parse(old)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.evidence = func(e *api.TPMEvidence) error { e.Quote = parsed.Quote; return nil }
	return g, g.measure(measurement{12, "malice"})
}

func anotherNonce(ctx context.Context, s *site) (*suspect, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return nil, err
	}
	g.wire = attestation(func(a *api.KBSAttestation) error {
		a.RuntimeData.Nonce = base64.StdEncoding.EncodeToString(make([]byte, 32))
		return nil
	})
	return g, nil
}
