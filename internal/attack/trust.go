package attack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/state"
	"holdfast/internal/oci"
	"holdfast/internal/sign"
)

// What trust in machine images promises.
const (
	trusted = "a machine gets something only when it booted an image that is trusted now"
	signed  = "reference values count only when a key of the installation signed them"
)

func trustAttacks() []Attack {
	return in("image",
		lying("image-not-trusted", trusted, "the machine boots a well-signed image that nobody trusted",
			"no trusted image has it", func(ctx context.Context, s *site) (*suspect, error) { return s.booting(ctx, "an image nobody trusted") }),
		lying("references-withdrawn", trusted, "the image was trusted once, and is not any more",
			"no trusted image has it", formerlyTrusted),
		lying("references-planted", signed, "reference values that another root signed are written into the broker's own folder",
			"no trusted image has it", plantedReferences),
		trusting("references-unsigned", "the administrator is handed reference values that nobody signed",
			sign.ErrUnsigned, func(context.Context, *site) ([]byte, error) { return references("unsigned") }),
		trusting("references-altered", "the administrator is handed reference values whose PCR 11 was changed after they were signed",
			sign.ErrUntrusted, alteredReferences),
		trusting("references-foreign", "the administrator is handed reference values that another installation signed",
			sign.ErrUntrusted, foreignReferences),
	)
}

// booting is a machine that booted another UKI.
func (s *site) booting(ctx context.Context, uki string) (*suspect, error) {
	document, err := s.own(ctx)
	if err != nil {
		return nil, err
	}
	return s.boot(ctx, start{document: document, uki: uki})
}

// formerlyTrusted boots an image that was trusted, which it first makes sure of.
func formerlyTrusted(ctx context.Context, s *site) (*suspect, error) {
	const uki = "an image that was trusted"
	envelope, err := references(uki, s.ring.Statements())
	if err != nil {
		return nil, err
	}
	if err := s.admin.Trust(ctx, envelope); err != nil {
		return nil, err
	}
	g, err := s.booting(ctx, uki)
	if err != nil {
		return nil, err
	}
	_, err = g.fetch(ctx, ownKey)
	if err == nil {
		err = s.admin.Distrust(ctx, string(oci.SHA256(envelope)))
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func alteredReferences(_ context.Context, s *site) ([]byte, error) {
	raw, err := references(ukiMeasured, s.ring.Statements())
	if err != nil {
		return nil, err
	}
	envelope, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	changed := bytes.ReplaceAll(envelope.Payload, []byte(extended(ukiMeasured)), []byte(extended("an image of the adversary")))
	if bytes.Equal(changed, envelope.Payload) {
		return nil, errors.New("the reference values do not say PCR 11")
	}
	envelope.Payload = changed
	return json.Marshal(envelope)
}

func foreignReferences(ctx context.Context, s *site) ([]byte, error) {
	ring, err := s.lab.foreignKeys(ctx)
	if err != nil {
		return nil, err
	}
	return references("an image of another installation", ring.Statements())
}

// plantedReferences writes reference values into the state where the broker
// keeps those that it accepted, as whoever can write its folder could.
func plantedReferences(ctx context.Context, s *site) (*suspect, error) {
	envelope, err := foreignReferences(ctx, s)
	if err != nil {
		return nil, err
	}
	kept, err := state.Open(ctx, state.Config{Dir: s.installation.Broker(), Sealer: state.Keyless{}})
	if err != nil {
		return nil, err
	}
	planted := api.Version{Kind: api.ReferenceKind, Name: string(oci.SHA256(envelope)), Actor: "the adversary"}
	undo := func() error {
		planted.Content = nil
		_, err := kept.SetDocument(context.WithoutCancel(ctx), planted)
		return errors.Join(err, kept.Close())
	}
	planted.Content = envelope
	if _, err := kept.SetDocument(ctx, planted); err != nil {
		return nil, errors.Join(err, kept.Close())
	}
	time.Sleep(sawChanges) // or it would be refused for not being seen yet
	g, err := s.booting(ctx, "an image of another installation")
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	g.undo = undo
	return g, nil
}

// sawChanges is longer than a broker takes to see what another process wrote.
const sawChanges = 500 * time.Millisecond

// trusting is an attack that asks an administrator to trust something.
func trusting(name, change string, want error, make func(context.Context, *site) ([]byte, error)) Attack {
	return Attack{Name: name, Promise: signed, Change: change, Want: Refusal{Broker, want.Error()}, Control: honest,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			s, err := l.site(ctx)
			if err != nil {
				return Refusal{}, err
			}
			envelope, err := make(ctx, s)
			if err != nil {
				return Refusal{}, err
			}
			return toldAdmin(s.admin.Trust(ctx, envelope))
		}}
}

// toldAdmin is what the broker told an administrator.
func toldAdmin(err error) (Refusal, error) {
	var refused *admin.RefusedError
	switch {
	case err == nil:
		return Broke("the broker did it"), nil
	case errors.As(err, &refused):
		return Refusal{Broker, refused.Info.Detail}, nil
	}
	return Refusal{}, err
}
