package verify

import (
	"crypto/sha256"
	"encoding/binary"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

var (
	_ attest.Resumer = (*Verifier)(nil)
	_ attest.Keeper  = (*session)(nil)
)

// Keep implements attest.Keeper: all but the secret follows from the request.
func (s *session) Keep() []byte { return s.secret }

// Resume implements attest.Resumer. What Begin found is remembered, as a rule.
func (v *Verifier) Resume(request api.RequestParams, secret []byte) (attest.Session, error) {
	if o, ok := v.offers.get(idOf(request.Activation)); ok {
		return &session{verifier: v, secret: secret, offer: o}, nil
	}
	o, err := v.judge(request.Activation)
	return &session{verifier: v, secret: secret, offer: o}, err
}

// idOf names an offer by all that it says.
func idOf(a *api.ActivationOffer) [sha256.Size]byte {
	var all []byte
	for _, part := range [][]byte{a.EKCertificate, a.EKPublic, a.AKPublic} {
		all = append(binary.AppendUvarint(all, uint64(len(part))), part...)
	}
	return sha256.Sum256(all)
}
