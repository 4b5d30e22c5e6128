package proof

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/sign"
)

// A Passport is another verifier's token, once its signature and its time were
// found good.
type Passport struct {
	Issuer, Session string
	Claims          map[string]any
}

// ofAttestations are the checks of what a broker judged itself.
var ofAttestations = []string{
	checkEvidence, checkChain, checkHardware, checkDevices,
	verify.StepEndorsement, verify.StepAttestationKey, verify.StepQuote, verify.StepPCRs, verify.StepHandshake,
	verify.StepInitData, verify.StepEventLog, checkReferences, checkPCRs, checkAttestation, checkClaims,
}

// passport checks a release to a machine that another verifier attested. What
// that one saw is not here: its token is all that the broker went by.
func (c *checker) passport(ctx context.Context) {
	c.report.without = ofAttestations
	p, err := c.openPassport()
	text := ""
	if err == nil {
		text = fmt.Sprintf("by %s, whose tokens the reader takes: %s. What evidence it saw is for it to prove", p.Issuer, attested(p.Claims))
	}
	if c.report.check(checkToken, text, err) {
		c.resourcePolicy(ctx, p.Claims)
	}
}

func (c *checker) openPassport() (*Passport, error) {
	said := c.proof.Passport
	if c.Passports == nil {
		return nil, fmt.Errorf("another verifier, %.80q, attested the machine, and the reader named nobody whose tokens he takes", said.Issuer)
	}
	p, err := c.Passports(said.Token, c.proof.Release.Time)
	if err != nil {
		return nil, err
	}
	if p.Issuer != said.Issuer || p.Session != said.Session {
		return nil, errors.New("the proof names another issuer or session than its token")
	}
	return p, nil
}

// attested is in words what a token says of the machine.
func attested(claims map[string]any) string {
	submods, _ := claims["submods"].(map[string]any)
	machine, _ := submods[ear.Primary].(map[string]any)
	made := time.Unix(seconds(claims["iat"]), 0).UTC().Format(time.RFC3339)
	return fmt.Sprintf("it found the machine %v at %s, with %d devices beside it", machine[ear.Status], made, max(0, len(submods)-1))
}

// passportSubjects are the token, and the configuration that it names.
func passportSubjects(token string) []sign.Subject {
	list := []sign.Subject{subject(api.SubjectToken, sha256Hex([]byte(token)))}
	if digest, ok := strings.CutPrefix(configurationIn(token), "sha256:"); ok {
		list = append(list, subject(api.SubjectConfiguration, digest))
	}
	return list
}

// configurationIn is the digest of the machine's init-data, as a token of this
// program tells it; others have no such claim.
func configurationIn(token string) string {
	var claims struct {
		Submods map[string]struct {
			Evidence struct {
				Digest string `json:"init_data_digest"`
			} `json:"ear.veraison.annotated-evidence"`
		} `json:"submods"`
	}
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Submods[ear.Primary].Evidence.Digest
}
