package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

var (
	_ attest.Resumer = (*Verifier)(nil)
	_ attest.Keeper  = (*session)(nil)
)

// Keep implements attest.Keeper: all but the secret follows from the request.
func (s *session) Keep() []byte { return s.secret }

// Resume implements attest.Resumer. The offer was judged by Begin, so that its
// certificates and keys are only read again.
func (v *Verifier) Resume(request api.RequestParams, secret []byte) (attest.Session, error) {
	cert, err := x509.ParseCertificate(request.Activation.EKCertificate)
	if err != nil {
		return nil, fmt.Errorf("%w: endorsement certificate: %w", attest.ErrMalformed, err)
	}
	sum := sha256.Sum256(cert.Raw)
	o := offer{fingerprint: hex.EncodeToString(sum[:])}
	if o.device, err = deviceNames(cert); err != nil {
		return nil, fmt.Errorf("%w: subject alternative name of the endorsement certificate: %w", attest.ErrEndorsement, err)
	}
	o.akPublic, o.akName, err = attestationKey(request.Activation.AKPublic)
	return &session{secret: secret, offer: o}, err
}
