package attack

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
)

// token is one that an honest machine is given.
func (s *site) token(ctx context.Context) (string, error) {
	g, err := s.honest(ctx)
	if err != nil {
		return "", err
	}
	defer g.Close()
	var given api.KBSToken
	g.wire = answer("/attest", func(body []byte) error { return json.Unmarshal(body, &given) })
	if _, err := g.fetch(ctx, ownKey); err != nil {
		return "", err
	}
	if given.Token == "" {
		return "", errors.New("the broker gave no token")
	}
	return given.Token, nil
}

// reworded is a token that speaks of a configuration that may have more.
func (s *site) reworded(ctx context.Context, token string) (string, error) {
	own, err := s.own(ctx)
	if err != nil {
		return "", err
	}
	other, err := s.authorised(ctx, "other", otherKey)
	if err != nil {
		return "", err
	}
	part := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		return "", err
	}
	changed := strings.ReplaceAll(string(payload), oci.SHA256(own).Hex(), oci.SHA256(other).Hex())
	if changed == string(payload) {
		return "", errors.New("the token does not name its configuration")
	}
	part[1] = base64.RawURLEncoding.EncodeToString([]byte(changed))
	return strings.Join(part, "."), nil
}

func foreignToken(ctx context.Context, s *site, token string) ([]byte, error) {
	ring, err := s.lab.foreignKeys(ctx)
	if err != nil {
		return nil, err
	}
	forged, err := signedAgain(ring.Pair(keys.Token).Key, token, func(map[string]any) {})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, ownKey, forged)
}

// expiredToken has the broker's own key sign what it signed ten minutes ago.
func expiredToken(ctx context.Context, s *site, token string) ([]byte, error) {
	old, err := signedAgain(s.ring.Pair(keys.Token).Key, token, func(claims map[string]any) {
		claims["exp"] = time.Now().Add(-time.Second).Unix()
	})
	if err != nil {
		return nil, err
	}
	return s.get(ctx, ownKey, old)
}

// signedAgain is token after change, signed again by key, which rides along.
func signedAgain(key crypto.Signer, token string, change func(map[string]any)) (string, error) {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return "", err
	}
	claims := map[string]any{}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	change(claims)
	if payload, err = json.Marshal(claims); err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.(*ecdsa.PrivateKey)},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	again, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return again.CompactSerialize()
}

// confusedToken is signed with what everybody knows of the broker's key.
func confusedToken(ctx context.Context, s *site, token string) ([]byte, error) {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(s.ring.Pair(keys.Token).Key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return nil, err
	}
	confused, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	return s.get(ctx, ownKey, confused)
}

// stolenToken has a machine of the same broker use the token of another.
func stolenToken() Attack {
	a := asking("token-stolen", ownEyes, "another machine of this broker steals the token, and asks with it", "was not encrypted to this key", nil)
	a.Run = func(ctx context.Context, l *Lab) (Refusal, error) {
		s, err := l.site(ctx)
		if err != nil {
			return Refusal{}, err
		}
		token, err := s.token(ctx)
		if err != nil {
			return Refusal{}, err
		}
		document, err := s.authorised(ctx, "thief")
		if err != nil {
			return Refusal{}, err
		}
		g, err := s.boot(ctx, start{document: document})
		if err != nil {
			return Refusal{}, err
		}
		defer g.Close()
		g.wire = func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "/resource/") {
				r = r.Clone(r.Context())
				r.Header.Del("Cookie")
				r.Header.Set("Authorization", "Bearer "+token)
			}
			return next.RoundTrip(r)
		}
		value, err := g.fetch(ctx, ownKey)
		if err == nil {
			return Broke("the thief read %q", value), nil
		}
		return Refusal{Broker, err.Error()}, nil
	}
	return a
}
