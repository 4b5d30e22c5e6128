package broker

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/attest/ear"
)

// A tokenMaker makes attestation results (EAR, draft-ietf-rats-ear) as signed
// tokens, and takes back only its own.
type tokenMaker struct {
	key    *ecdsa.PrivateKey
	issuer string
	life   time.Duration
	now    func() time.Time
}

// issue signs a result, whose issuer and times it sets.
func (m *tokenMaker) issue(r ear.Result) (string, error) {
	now := m.now()
	r.Issuer, r.From, r.Until = m.issuer, now.Unix(), now.Add(m.life).Unix()
	payload, err := json.Marshal(ear.Claims(r))
	if err != nil {
		return "", err
	}
	// The header carries the public key, as Trustee's does.
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: m.key},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// verified is a token that this broker issued and that is still good.
type verified struct {
	claims  map[string]any
	session string
	key     *teeKey
}

func (m *tokenMaker) verify(token string) (*verified, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, fmt.Errorf("it is no ES256 token: %w", err)
	}
	// The key in the header is the sender's word: only our own counts.
	payload, err := signed.Verify(&m.key.PublicKey)
	if err != nil {
		return nil, errors.New("it was not signed by this broker")
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Expires int64  `json:"exp"`
		Session string `json:"jti"`
		Submods map[string]struct {
			Evidence struct {
				Runtime struct {
					Key json.RawMessage `json:"tee-pubkey"`
				} `json:"runtime_data_claims"`
			} `json:"ear.veraison.annotated-evidence"`
		} `json:"submods"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return nil, err
	}
	if claims.Issuer != m.issuer {
		return nil, fmt.Errorf("its issuer is %q, not %q", claims.Issuer, m.issuer)
	}
	if expires := time.Unix(claims.Expires, 0); !m.now().Before(expires) {
		return nil, fmt.Errorf("it expired at %s", expires.UTC().Format(time.RFC3339))
	}
	key, err := parseTEEKey(claims.Submods["cpu0"].Evidence.Runtime.Key)
	if err != nil {
		return nil, err
	}
	v := &verified{session: claims.Session, key: key}
	return v, json.Unmarshal(payload, &v.claims)
}
