package proof

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/attest/ear"
	"holdfast/internal/sign"
)

// token checks who signed the attestation result, and returns what it says.
func (c *checker) token() map[string]any {
	payload, key, err := c.openToken()
	if !c.report.check(checkToken, "by the key that the root certifies for the broker's tokens", err) {
		return nil
	}
	c.report.Release.TokenKey = key
	return payload
}

func (c *checker) openToken() (payload map[string]any, key string, err error) {
	a := c.proof.Attestation
	cert, err := x509.ParseCertificate(a.TokenCertificate)
	if err != nil {
		return nil, "", fmt.Errorf("certificate: %w", err)
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || cert.IsCA || len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) > 0 {
		return nil, "", errors.New("the certificate is not that of a broker's token key")
	}
	opts := x509.VerifyOptions{Roots: c.Roots, CurrentTime: c.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if _, err := cert.Verify(opts); err != nil {
		return nil, "", fmt.Errorf("certificate: %w", err)
	}
	signed, err := jose.ParseSignedCompact(a.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, "", fmt.Errorf("it is no ES256 token: %w", err)
	}
	if again, err := signed.CompactSerialize(); err != nil || again != a.Token {
		return nil, "", errors.New("the token is spelled otherwise than it was written")
	}
	raw, err := signed.Verify(public)
	if err != nil {
		return nil, "", errors.New("it does not verify with the token key")
	}
	return payload, sign.KeyID(cert), json.Unmarshal(raw, &payload)
}

// claims checks that the token says what the evidence leads to: of this
// machine, this configuration and this ephemeral key.
func (c *checker) claims(payload map[string]any) {
	c.report.check(checkClaims, "they follow from the evidence, for the ephemeral key that the resource was wrapped to; the token was good when it was shown", c.sameClaims(payload))
}

func (c *checker) sameClaims(payload map[string]any) error {
	a := c.proof.Attestation
	from, until := seconds(payload["iat"]), seconds(payload["exp"])
	issuer, _ := payload["iss"].(string)
	want := ear.Claims(ear.Result{
		Issuer: issuer, From: from, Until: until, Session: a.Session, TEE: a.TEE, Trust: a.Policy.Trust, Extensions: a.Policy.Extensions,
		Claims: c.review.Claims, InitData: c.config, Runtime: a.Message.RuntimeData, Additional: a.Message.TEEEvidence.Additional,
		Devices: c.judged,
	})
	if where := difference(plain(want), payload, "token"); where != "" {
		return fmt.Errorf("%s is not what the evidence leads to", where)
	}
	const slow = 60 // seconds that may lie between judging and signing
	if d := from - a.Time.Unix(); d < 0 || d > slow {
		return fmt.Errorf("the token was made %d seconds after the machine was attested", d)
	}
	if t := c.proof.Release.Time.Unix(); t < from || t >= until {
		return fmt.Errorf("at the release, %s, the token was not good: it is from %s until %s", c.proof.Release.Time.Format(time.RFC3339),
			time.Unix(from, 0).UTC().Format(time.RFC3339), time.Unix(until, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

func seconds(v any) int64 {
	n, _ := v.(float64)
	return int64(n)
}
