package broker

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"holdfast/internal/api"
)

// What Trustee writes into its tokens (attestation-service/src/ear_token).
const (
	earProfile = "tag:github.com,2024:confidential-containers/Trustee"
	earStatus  = "ear.status"
	earClaims  = "ear.veraison.annotated-evidence"
)

// A tokenMaker makes attestation results (EAR, draft-ietf-rats-ear) as signed
// tokens, and takes back only its own.
type tokenMaker struct {
	key    *ecdsa.PrivateKey
	issuer string
	life   time.Duration
	now    func() time.Time
}

// A result is what a token says of one machine.
type result struct {
	session  string // reference of the session, the token's jti
	tee      string
	trust    map[string]int8
	claims   map[string]any // the verifier's
	initData *initData
	runtime  api.RuntimeData
	extra    string // additional evidence
}

func (m *tokenMaker) issue(r result) (string, error) {
	now := m.now()
	payload, err := json.Marshal(map[string]any{
		"eat_profile":     earProfile,
		"iat":             now.Unix(),
		"exp":             now.Add(m.life).Unix(),
		"iss":             m.issuer,
		"jti":             r.session,
		"ear.verifier-id": map[string]string{"developer": "https://confidentialcontainers.org", "build": "holdfast"},
		"submods": map[string]any{"cpu0": map[string]any{
			earStatus:                    status(r.trust),
			"ear.trustworthiness-vector": vector(r.trust),
			"ear.appraisal-policy-id":    "default",
			earClaims:                    annotated(r),
		}},
	})
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

// annotated has the shape of Trustee's transform_claims: init and report data
// beside the claims of the device, which stand under its name.
func annotated(r result) map[string]any {
	device, out := map[string]any{}, map[string]any{}
	for name, value := range r.claims {
		switch name {
		case "init_data", "report_data":
			out[name] = value
		default:
			device[name] = value
		}
	}
	out[r.tee] = device
	out["runtime_data_claims"] = map[string]any{
		"tee-pubkey": r.runtime.TEEPubKey, "nonce": r.runtime.Nonce, "additional-evidence": r.extra,
	}
	if r.initData != nil {
		out["init_data_claims"] = r.initData.data
		out["init_data_digest"] = r.initData.digest
	}
	return out
}

var vectorClaims = []string{"instance-identity", "configuration", "executables", "file-system",
	"hardware", "runtime-opaque", "storage-opaque", "sourced-data"}

func vector(trust map[string]int8) map[string]int8 {
	out := map[string]int8{}
	for _, name := range vectorClaims {
		out[name] = trust[name]
	}
	return out
}

// status is the worst tier of the vector, draft-ietf-rats-ar4si section 2.3.2.
func status(trust map[string]int8) string {
	tiers := []string{"none", "affirming", "warning", "contraindicated"}
	worst := 0
	for _, name := range vectorClaims {
		worst = max(worst, tier(trust[name]))
	}
	return tiers[worst]
}

func tier(claim int8) int {
	switch {
	case claim >= -1 && claim <= 1:
		return 0
	case claim >= -32 && claim <= 31:
		return 1
	case claim >= -96 && claim <= 95:
		return 2
	}
	return 3
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
