package kbc

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"
)

// slack is how long a token that is handed out is good at least.
const slack = 30 * time.Second

// Token is what the broker said of this machine, and the private key that the
// token is bound to, as PEM of a PKCS #8 structure: whoever has both can do with
// the broker what this client can. The machine is proved anew when the token
// would soon expire.
func (c *Client) Token(ctx context.Context) (token string, key []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.token == "" || !goodAt(c.session.token, time.Now().Add(slack)) {
		if err := c.attest(ctx); err != nil {
			return "", nil, err
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return "", nil, fmt.Errorf("token: %w", err)
	}
	return c.session.token, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// goodAt reads a token's expiry (RFC 7519, 4.1.4). Who signed it is for those to
// check whom it is shown to; one that cannot be read is asked for anew.
func goodAt(token string, at time.Time) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	return json.Unmarshal(raw, &claims) == nil && float64(at.Unix()) < claims.Expiry
}
