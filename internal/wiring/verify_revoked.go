package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
	"holdfast/internal/oci"
	"holdfast/internal/proof"
)

// A Revocation says that an image of a proof is revoked now, as this
// installation's broker has it. The proof is as good as it was: it tells of a
// release that happened before.
type Revocation struct {
	Image  string    `json:"image"`
	UKI    string    `json:"uki"` // sha256:…, or the ID of the reference values that name none
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// A recall tells of images that are revoked at this installation, by UKI.
type recall map[string]Revocation

// recall reads them. Another root's images are not this broker's to judge.
func (i Installation) recall(ctx context.Context, v Verification) (_ recall, err error) {
	if _, err := os.Stat(filepath.Join(i.Broker(), state.File)); v.Root != "" || err != nil {
		return nil, nil
	}
	kept, err := i.openState(nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	all, _, err := kept.Documents(ctx, api.StandingKind)
	if err != nil {
		return nil, err
	}
	r := recall{}
	for _, d := range all {
		var s api.ImageStanding
		if err := json.Unmarshal(d.Content, &s); err != nil {
			return nil, fmt.Errorf("what the broker says of image %s: %w", d.Name, err)
		}
		if s.Revoked != nil {
			r[d.Name] = Revocation{s.Image, d.Name, s.Revoked.At, s.Revoked.Reason}
		}
	}
	return r, nil
}

// of names the images of a proof that is good which are revoked.
func (r recall) of(raw []byte, reader proof.Reader) (found []Revocation) {
	p, err := proof.Peek(raw)
	if err != nil || len(r) == 0 {
		return nil
	}
	for _, envelope := range p.Attestation.References {
		values, err := proof.OpenReference(envelope, reader.Roots, reader.At)
		if err != nil {
			continue // such a proof is not good
		}
		if one, ok := r[or(values.UKI, string(oci.SHA256(envelope)))]; ok {
			found = append(found, one)
		}
	}
	return found
}
