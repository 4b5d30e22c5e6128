// Package admin asks a broker for changes, as its administrator.
//
// Every request carries a token of its own, signed by the administrator's key
// and good for a minute, so there is no password to keep or to leak.
package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"holdfast/internal/api"
)

// A Client administers one broker. URL and Key must be set.
type Client struct {
	URL  string        // https://HOST:PORT
	Key  crypto.Signer // Ed25519, or ECDSA P-256 in memory
	Name string        // who acts, for the audit log; optional
	Role string        // "admin" when empty
	// Audience is the broker's name, as its Config has it.
	Audience string
	HTTP     *http.Client     // http.DefaultClient when nil
	Now      func() time.Time // time.Now when nil
}

// Close lets go of what the client's connections hold.
func (c *Client) Close() {
	if c.HTTP != nil {
		c.HTTP.CloseIdleConnections()
	}
}

// A RefusedError is the broker's answer to what it will not do.
type RefusedError struct {
	Status int
	Info   api.ErrorInformation
}

func (e *RefusedError) Error() string { return e.Info.Detail }

// tokenLife is how long a request's token is good.
const tokenLife = time.Minute

// token is for one request, of this broker, and for once.
func (c *Client) token(method, target string, body []byte) (string, error) {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	var alg jose.SignatureAlgorithm
	switch c.Key.(type) {
	case ed25519.PrivateKey:
		alg = jose.EdDSA
	case *ecdsa.PrivateKey:
		alg = jose.ES256
	default:
		return "", fmt.Errorf("an administrator's key must be Ed25519 or ECDSA P-256, not %T", c.Key)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: c.Key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	claims := struct {
		jwt.Claims
		Role   string `json:"role"`
		Method string `json:"htm"`
		Target string `json:"htu"`
		Body   string `json:"bdh"`
	}{jwt.Claims{
		Issuer: "holdfast", Subject: c.Name, Audience: jwt.Audience{c.Audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now()), Expiry: jwt.NewNumericDate(now().Add(tokenLife)),
	}, cmp.Or(c.Role, "admin"), method, target, base64.RawURLEncoding.EncodeToString(sum[:])}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// maxAnswer bounds what is read of an answer other than the audit log.
const maxAnswer = 16 << 20

// do sends body, an io.Reader or something to encode as JSON, and decodes the
// answer into out unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.send(ctx, method, path, body, nil)
	if err != nil {
		return fmt.Errorf("broker %s: %w", c.URL, err)
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("broker %s: %s %s: read the answer: %w", c.URL, method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any, header http.Header) (*http.Response, error) {
	raw, err := bodyOf(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	token, err := c.token(method, req.URL.RequestURI(), raw)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Authorization", "Bearer "+token)
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refusal(resp)
}

func bodyOf(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case io.Reader:
		return io.ReadAll(b)
	}
	return json.Marshal(body)
}

func refusal(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	e := &RefusedError{Status: resp.StatusCode}
	if err != nil || json.Unmarshal(raw, &e.Info) != nil || e.Info.Detail == "" {
		return errors.Join(fmt.Errorf("it answered %s", resp.Status), err)
	}
	return e
}

// SetResource stores a secret under REPOSITORY/TYPE/TAG.
func (c *Client) SetResource(ctx context.Context, path string, value []byte) error {
	return c.do(ctx, http.MethodPost, api.KBSPrefix+"/resource/"+path, bytes.NewReader(value), nil)
}

// ErrExist says that a resource is there already.
var ErrExist = errors.New("the broker has it already")

// CreateResource stores a secret under a path that has none. One that has is
// left as it is: ErrExist.
func (c *Client) CreateResource(ctx context.Context, path string, value []byte) error {
	resp, err := c.send(ctx, http.MethodPost, api.KBSPrefix+"/resource/"+path, bytes.NewReader(value), http.Header{"If-None-Match": {"*"}})
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Status == http.StatusPreconditionFailed {
		return fmt.Errorf("%s: %w", path, ErrExist)
	}
	if err != nil {
		return fmt.Errorf("broker %s: %w", c.URL, err)
	}
	return resp.Body.Close()
}

// DeleteResource forgets a secret.
func (c *Client) DeleteResource(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, api.KBSPrefix+"/resource/"+path, nil, nil)
}

// Resources lists the paths of all secrets.
func (c *Client) Resources(ctx context.Context) (paths []string, err error) {
	return paths, c.do(ctx, http.MethodGet, api.ResourcesPath, nil, &paths)
}

// Allow authorises the configuration with the digest sha256:… to be given
// these resources and no others.
func (c *Client) Allow(ctx context.Context, digest string, resources []string) error {
	return c.do(ctx, http.MethodPost, api.ConfigurationsPath, api.Configuration{Digest: digest, Resources: resources}, nil)
}

// Withdraw ends a configuration's authorisation, at once.
func (c *Client) Withdraw(ctx context.Context, digest string) error {
	return c.do(ctx, http.MethodDelete, api.ConfigurationsPath+"/"+digest, nil, nil)
}

// Configurations lists those that are authorised.
func (c *Client) Configurations(ctx context.Context) (list []api.Configuration, err error) {
	return list, c.do(ctx, http.MethodGet, api.ConfigurationsPath, nil, &list)
}

// Trust makes an image trusted by the signed envelope of its reference values.
func (c *Client) Trust(ctx context.Context, envelope []byte) error {
	return c.do(ctx, http.MethodPost, api.KBSPrefix+"/reference-value", map[string]string{
		"version": "0.1.0", "type": api.ReferenceMessageType, "payload": base64.StdEncoding.EncodeToString(envelope),
	}, nil)
}

// Distrust forgets the reference values with the ID sha256:….
func (c *Client) Distrust(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, api.KBSPrefix+"/reference-value/"+id, nil, nil)
}

// Images lists the trusted ones.
func (c *Client) Images(ctx context.Context) (list []api.TrustedImage, err error) {
	return list, c.do(ctx, http.MethodGet, api.KBSPrefix+"/reference-value", nil, &list)
}

// SetStanding revokes an image, limits it, or takes that back.
func (c *Client) SetStanding(ctx context.Context, s api.ImageStanding) error {
	return c.do(ctx, http.MethodPost, api.StandingsPath, s, nil)
}

// Policy tells which policy of a kind is in force.
func (c *Client) Policy(ctx context.Context, kind string) (p api.PolicyInForce, err error) {
	return p, c.do(ctx, http.MethodGet, api.PoliciesPath+"/"+kind, nil, &p)
}

// PolicyVersion reads one version of a policy; 0 is the one that ships.
func (c *Client) PolicyVersion(ctx context.Context, kind string, number int64) (p api.PolicyInForce, err error) {
	return p, c.do(ctx, http.MethodGet, fmt.Sprintf("%s/%s?version=%d", api.PoliciesPath, kind, number), nil, &p)
}

// ChangePolicy puts a policy of a kind in force.
func (c *Client) ChangePolicy(ctx context.Context, kind string, change api.PolicyChange) error {
	return c.do(ctx, http.MethodPost, api.PoliciesPath+"/"+kind, change, nil)
}

// PolicyHistory lists the versions of a policy, the latest first.
func (c *Client) PolicyHistory(ctx context.Context, kind string) ([]api.Version, error) {
	list, err := c.History(ctx, api.PolicyKind)
	return slices.DeleteFunc(list, func(v api.Version) bool { return v.Name != kind }), err
}

// EachDecision reads the decisions that the broker keeps, behind the one with
// the number after, the oldest first, until read says that it has enough.
func (c *Client) EachDecision(ctx context.Context, after int64, read func(api.RecordedDecision) (more bool, err error)) error {
	for {
		var list []api.RecordedDecision
		if err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?after=%d", api.DecisionsPath, after), nil, &list); err != nil || len(list) == 0 {
			return err
		}
		for _, d := range list {
			if more, err := read(d); err != nil || !more {
				return err
			}
			if d.ID <= after {
				return fmt.Errorf("broker %s: decision %d stands behind %d", c.URL, d.ID, after)
			}
			after = d.ID
		}
	}
}

// DecisionsOf tells of the decisions about sessions that the broker keeps, in
// order for each fifty of them.
func (c *Client) DecisionsOf(ctx context.Context, sessions []string, tell func(api.RecordedDecision)) error {
	for some := range slices.Chunk(sessions, 50) {
		asked := url.Values{"session": some}.Encode()
		for after := int64(0); ; {
			var list []api.RecordedDecision
			if err := c.do(ctx, http.MethodGet, fmt.Sprintf("%s?after=%d&%s", api.DecisionsPath, after, asked), nil, &list); err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, d := range list {
				if d.ID <= after {
					return fmt.Errorf("broker %s: decision %d stands behind %d", c.URL, d.ID, after)
				}
				after = d.ID
				tell(d)
			}
		}
	}
	return nil
}

// TokenKeys are those whose tokens the broker believes now, the one that signs
// before the others.
func (c *Client) TokenKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	var set jose.JSONWebKeySet
	err := c.do(ctx, http.MethodGet, api.KBSPrefix+"/holdfast/jwks", nil, &set)
	return set.Keys, err
}

// SetAttestationPolicy replaces the policy that judges machines.
func (c *Client) SetAttestationPolicy(ctx context.Context, source []byte) error {
	return c.setPolicy(ctx, "attestation-policy", source)
}

// SetResourcePolicy replaces the policy that releases secrets.
func (c *Client) SetResourcePolicy(ctx context.Context, source []byte) error {
	return c.setPolicy(ctx, "resource-policy", source)
}

func (c *Client) setPolicy(ctx context.Context, endpoint string, source []byte) error {
	return c.do(ctx, http.MethodPost, api.KBSPrefix+"/"+endpoint, map[string]string{
		"type": "rego", "policy_id": "default", "policy": base64.RawURLEncoding.EncodeToString(source),
	}, nil)
}

// Proofs lists what the broker has proofs of.
func (c *Client) Proofs(ctx context.Context) (list []api.ProofEntry, err error) {
	return list, c.do(ctx, http.MethodGet, api.ProofsPath, nil, &list)
}

// Proof fetches a proof by its ID.
func (c *Client) Proof(ctx context.Context, id string) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodGet, api.ProofsPath+"/"+url.PathEscape(id), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.URL, err)
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// Audit returns the audit log: a line of JSON, an api.AuditEntry, for each
// decision. The caller closes it.
func (c *Client) Audit(ctx context.Context) (io.ReadCloser, error) { return c.AuditFrom(ctx, 0) }

// ErrShort says that the log has fewer bytes than somebody has of it.
var ErrShort = errors.New("the broker's audit log is shorter")

// AuditFrom leaves out the log's first bytes.
func (c *Client) AuditFrom(ctx context.Context, from int64) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, fmt.Sprintf("%s?from=%d", api.AuditPath, from), nil, nil)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Status == http.StatusRequestedRangeNotSatisfiable {
		err = fmt.Errorf("%w: %w", ErrShort, err)
	}
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", c.URL, err)
	}
	return resp.Body, nil
}

// Decisions returns the audit log's entries, oldest first.
func (c *Client) Decisions(ctx context.Context) (list []api.AuditEntry, err error) {
	log, err := c.Audit(ctx)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	err = api.ReadAudit(log, func(e api.AuditEntry) { list = append(list, e) })
	return list, err
}
