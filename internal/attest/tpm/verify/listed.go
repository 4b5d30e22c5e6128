package verify

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/attest"
)

// listed is the session of a machine that cannot activate a credential, as
// Trustee's own attester cannot. That its key is in a TPM is an administrator's
// word; the rest is judged as ever.
type listed struct{ verifier *Verifier }

// Challenge says which hash to take, and nothing else.
func (l *listed) Challenge() api.ChallengeParams {
	return api.ChallengeParams{SelectedHashAlgorithm: attest.HashAlgorithm}
}

// Verify implements attest.Session.
func (l *listed) Verify(evidence json.RawMessage, bound attest.Binding) (attest.Claims, error) {
	e, err := Parse(evidence)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(e.AKPublic)
	if err != nil {
		return nil, err
	}
	if e.AKPublic, err = l.trusts(key); err != nil {
		return nil, err
	}
	quote, err := l.verifier.quote(e.Quote, key)
	if err != nil {
		return nil, err
	}
	if err := l.verifier.fresh(quote, bound); err != nil {
		return nil, err
	}
	if err := configured(quote, bound); err != nil {
		return nil, err
	}
	claims := quote.claims(e, bound)
	if len(e.EventLog) > 0 {
		err = explain(e.EventLog, quote, claims)
	}
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// trusts returns the one spelling of a trusted key, by which its device is known.
func (l *listed) trusts(key publicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(der)
	ok, err := l.verifier.trusted(text)
	if err != nil {
		return "", fmt.Errorf("list of trusted attestation keys: %w", err)
	}
	if !ok {
		return "", attest.ErrUnlisted
	}
	return text, nil
}
