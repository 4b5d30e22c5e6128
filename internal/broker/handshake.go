package broker

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/ear"
	"holdfast/internal/attest/initdata"
)

// Bounds on what a stranger may send. Trustee's is 2 MiB for everything
// (payload_request_size).
const (
	maxRequest     = 64 << 10
	maxAttestation = 2 << 20
)

// authRefusal and attestRefusal begin as Trustee's do and then say why.
func authRefusal(format string, args ...any) *problem {
	return refuse(http.StatusUnauthorized, kindAttestation, "RCAR handshake Auth failed: %w", fmt.Errorf(format, args...))
}

func attestRefusal(format string, args ...any) *problem {
	return refuse(http.StatusUnauthorized, kindAttestation, "RCAR handshake Attest failed: %w", fmt.Errorf(format, args...))
}

// reason is what a problem says without the words that all of its kind share.
func reason(err error) string {
	var p *problem
	if errors.As(err, &p) && p.cause != nil {
		return p.cause.Error()
	}
	return err.Error()
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	return readInto(new(bytes.Buffer), w, r, limit)
}

func readInto(body *bytes.Buffer, w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body.Grow(int(room(r.ContentLength)))
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, refuse(http.StatusRequestEntityTooLarge, kindSerde, "the body is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, kindSerde, "read the body: %w", err)
	}
	return body.Bytes(), nil
}

// room is what a body takes that has the length which is said, and no more than
// a stranger's word is worth.
func room(said int64) int64 { return min(max(said, 0), 32<<10) + bytes.MinRead }

// postAuth opens a handshake: POST /kbs/v0/auth.
func (b *Broker) postAuth(w http.ResponseWriter, r *http.Request) error {
	b.counts.auth.Add(1)
	if err := b.brakes.source.check(source(r), "address", b.cfg.Now()); err != nil {
		return err
	}
	d := b.desks.take()
	defer b.desks.put(d)
	body, err := readInto(&d.body, w, r, maxRequest)
	if err != nil {
		return err
	}
	request, params, err := parseRequest(body)
	if err != nil {
		return authRefusal("%w", err)
	}
	verifier, ok := b.verifiers[request.TEE]
	if !ok {
		return authRefusal("TEE %q is not supported by this broker", request.TEE)
	}
	s := &session{tee: request.TEE, nonce: base64.StdEncoding.EncodeToString(randomBytes(32)), params: *params, offered: offered(params), offer: params.Activation}
	if s.proof, err = verifier.Begin(*params); err != nil {
		entry := api.AuditEntry{Action: "auth", Peer: r.RemoteAddr, Offered: s.offered}
		return b.conclude(r.Context(), entry, authRefusal("%w", err))
	}
	extra, err := json.Marshal(s.proof.Challenge())
	if err != nil {
		return err
	}
	cookie, err := b.begun.begin(s, d)
	if err != nil {
		return err
	}
	setCookie(w, r, cookie)
	writeParts(w, []byte(`{"nonce":"`), []byte(s.nonce), []byte(`","extra-params":`), extra, []byte("}\n")) // an api.KBSChallenge
	return nil
}

// offered names the TPM that a request claims to have.
func offered(params *api.RequestParams) string {
	if params.Activation == nil {
		return ""
	}
	return digestOf(params.Activation.EKCertificate)
}

// exactVersion is Trustee's VERSION_REQ "=0.4.0": build metadata is ignored, a
// pre-release is another version.
var exactVersion = regexp.MustCompile(`^` + regexp.QuoteMeta(api.KBSVersion) + `(\+[0-9A-Za-z.-]+)?$`)

func parseRequest(body []byte) (*api.KBSRequest, *api.RequestParams, error) {
	var request api.KBSRequest
	if err := exactly(body, &request); err != nil {
		return nil, nil, fmt.Errorf("deserialize Request: %w", err)
	}
	if !exactVersion.MatchString(request.Version) {
		return nil, nil, fmt.Errorf("KBS Client Protocol Version Mismatch: expect =%s while the request is %s", api.KBSVersion, request.Version)
	}
	// Older clients send "" or nothing for no parameters at all.
	params := &api.RequestParams{}
	if bytes.HasPrefix(bytes.TrimSpace(request.ExtraParams), []byte("{")) {
		if err := exactly(request.ExtraParams, params); err != nil {
			return nil, nil, fmt.Errorf("extra-params: %w", err)
		}
	}
	return &request, params, nil
}

// postAttest judges evidence: POST /kbs/v0/attest.
func (b *Broker) postAttest(w http.ResponseWriter, r *http.Request) error {
	b.counts.attests.Add(1)
	if err := b.brakes.source.check(source(r), "address", b.cfg.Now()); err != nil {
		return err
	}
	d := b.desks.take()
	defer b.desks.put(d)
	if _, err := readInto(&d.body, w, r, maxAttestation); err != nil {
		return err
	}
	s, err := b.answer(r)
	if s == nil {
		return err // nobody we talked with: not a decision
	}
	entry := api.AuditEntry{Action: "attest", Session: s.reference(), Peer: r.RemoteAddr, Offered: s.offered}
	var token issuedToken
	if err == nil {
		token, err = b.judge(r.Context(), d, s, &entry)
	}
	if err := b.conclude(r.Context(), entry, err); err != nil {
		return err
	}
	cookie, err := b.sessions.add(s.device, token.kept)
	if err != nil {
		return err
	}
	setCookie(w, r, cookie)
	writeParts(w, []byte(`{"token":"`), token.text, []byte("\"}\n")) // an api.KBSToken
	return nil
}

// writeParts answers with JSON that is compact, and has nothing to escape: base64
// and a JWS have not.
func writeParts(w http.ResponseWriter, parts ...[]byte) {
	beginJSON(w, http.StatusOK)
	for _, part := range parts {
		_, _ = w.Write(part) // the other side may stop reading
	}
}

// setCookie does as http.SetCookie, but for looking at each of the thousands of
// letters of a value that we made of letters which may stand in one.
func setCookie(w http.ResponseWriter, r *http.Request, c *http.Cookie) {
	bare := *c
	bare.Value, bare.Secure = "", r.TLS != nil
	name := c.Name + "="
	w.Header().Add("Set-Cookie", name+c.Value+strings.TrimPrefix(bare.String(), name))
}

// answer finds the handshake that a request ends, and takes its nonce. A
// session comes with its error when that is a decision, for the record.
func (b *Broker) answer(r *http.Request) (*session, error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil, attestRefusal("the cookie %s is missing", cookieName)
	}
	s, kept, err := b.begun.open(cookie.Value)
	if err != nil {
		return nil, attestRefusal("%w", err)
	}
	fresh, again, err := b.begun.answered.use(s.id, b.cfg.Now())
	if err != nil {
		return nil, err
	}
	if !fresh {
		err := attestRefusal("the session's nonce was answered before: it is good for one attestation")
		if again {
			return nil, err
		}
		return s, err
	}
	s.proof, err = resume(b.verifiers[s.tee], s, kept)
	return s, err
}

// conclude records how a request ended and returns what to tell its sender.
func (b *Broker) conclude(ctx context.Context, entry api.AuditEntry, err error) error {
	entry.Decision = api.AuditAllow
	if err != nil {
		entry.Decision = api.AuditRefuse
		entry.Reasons = append(entry.Reasons, reason(err))
		var denied *denial
		if errors.As(err, &denied) {
			entry.Reasons = denied.reasons
		}
	}
	// The decision was made: that its asker went away does not unmake it.
	if unrecorded := b.record(context.WithoutCancel(ctx), entry); unrecorded != nil {
		return unrecorded
	}
	return err
}

// judge goes from an attestation to a token, noting in entry and s what it
// learns. The token's text is on the desk.
func (b *Broker) judge(ctx context.Context, d *desk, s *session, entry *api.AuditEntry) (none issuedToken, err error) {
	a, err := parseAttestation(d.body.Bytes(), s.nonce, &b.documents)
	if err != nil {
		return none, attestRefusal("%w", err)
	}
	if a.initData != nil {
		entry.InitData = a.initData.Digest
	}
	claims, err := s.proof.Verify(a.TEEEvidence.Primary, a.binding())
	if err != nil {
		return none, attestRefusal("verify TEE evidence failed: %w", err)
	}
	entry.Claims = auditClaims(claims)
	entry.Warning, _ = claims["warning"].(string)
	s.device = deviceOf(claims)
	if err := b.brakes.attested(s.device, b.cfg.Now()); err != nil {
		return none, err
	}
	judged, err := b.appraise(ctx, d, *s, claims, a.initData)
	if err != nil {
		return none, err
	}
	entry.Image = judged.image()
	if judged.devices, err = b.judgeDevices(ctx, judged.rules, *s, a, judged.at, entry); err != nil {
		return none, err
	}
	key, err := b.tokens.key()
	if err != nil {
		return none, err
	}
	token, err := b.tokens.issueBy(d, key, ear.Result{
		Session: s.reference(), TEE: s.tee, Trust: judged.Trust, Extensions: judged.Named(), Claims: claims, Written: judged.question.claims,
		InitData: a.initData, Runtime: a.RuntimeData, Additional: a.TEEEvidence.Additional, Devices: inToken(judged.devices),
	})
	if err != nil {
		return none, err
	}
	return token, b.keepAttested(ctx, d, *s, a, judged, token.parts, key.certificate())
}

// An attestation is a message that is well-formed and answers our nonce.
type attestation struct {
	api.KBSAttestation
	body     []byte // of the request, which all else here was read from
	initData *initdata.Document
	digest   []byte                     // of the canonical runtime data
	devices  map[string]json.RawMessage // evidence of additional ones, by kind
}

// binding is what the evidence has to be bound to.
func (a *attestation) binding() attest.Binding {
	bound := attest.Binding{RuntimeDigest: a.digest}
	if a.initData != nil {
		bound.InitDataDigest, bound.InitDataAlgorithm = a.initData.Sum, a.initData.Algorithm
	}
	return bound
}

func parseAttestation(body []byte, nonce string, known *documents) (*attestation, error) {
	a := attestation{body: body}
	if err := exactly(body, &a.KBSAttestation); err != nil {
		return nil, fmt.Errorf("deserialize Attestation: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(a.RuntimeData.Nonce), []byte(nonce)) == 0 {
		return nil, errors.New("the nonce is not the one of this session's challenge")
	}
	if _, err := parseTEEKey(a.RuntimeData.TEEPubKey); err != nil {
		return nil, err
	}
	var err error
	if a.devices, err = parseDevices(a.TEEEvidence.Additional); err != nil {
		return nil, err
	}
	if a.initData, err = known.parse(a.InitData); err != nil {
		return nil, err
	}
	a.digest, err = attest.RuntimeDigest(a.RuntimeData, a.TEEEvidence.Additional)
	return &a, err
}
