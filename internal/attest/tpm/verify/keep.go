package verify

import (
	"holdfast/internal/api"
	"holdfast/internal/attest"
)

var (
	_ attest.Resumer = (*Verifier)(nil)
	_ attest.Keeper  = (*session)(nil)
)

// Keep implements attest.Keeper: all but the secret follows from the request.
func (s *session) Keep() []byte { return s.secret }

// Resume implements attest.Resumer. That the certificate is good is remembered
// from Begin.
func (v *Verifier) Resume(request api.RequestParams, secret []byte) (attest.Session, error) {
	o, err := v.judge(request.Activation)
	return &session{verifier: v, secret: secret, offer: o}, err
}
