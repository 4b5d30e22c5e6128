// Package broker releases secrets to machines that prove what they run.
//
// It speaks the key broker protocol of Confidential Containers (KBS 0.4.0): a
// machine answers a challenge with evidence, a verifier turns evidence into
// claims, a policy judges the claims, and only then is a resource wrapped to
// the key that the evidence was bound to. What no rule allows is refused, and
// every decision is on disk in the audit log before its answer leaves.
package broker

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/broker/roles"
	"holdfast/internal/proof"
)

// What suits a program that is a broker above all: garbage may be so many
// hundredths of what is in use, and be collected sooner where both together
// come to the limit.
const (
	GCPercent   = 400
	MemoryLimit = 512 << 20
)

// TokenLife is how long a token is good, unless Config says otherwise.
const TokenLife = 5 * time.Minute

// Config is what a broker needs. Dir, State, TokenKey and at least one verifier
// must be set; the rest has useful zero values, all of which refuse.
type Config struct {
	Dir      string            // audit.jsonl and its key; made if absent
	State    State             // all else that is kept
	TokenKey *ecdsa.PrivateKey // P-256: signs attestation tokens
	// TokenKeys gives the keys as they are when it is called, in place of
	// TokenKey: so they rotate.
	TokenKeys func() TokenKeys
	// Issuers gives the other verifiers whose tokens count here. Optional.
	Issuers func() []Issuer

	// AdminKeys vouch for administrators: Ed25519 or ECDSA P-256. Without any,
	// nobody administers this broker over the network.
	AdminKeys []crypto.PublicKey
	// Administrators gives others, with what each may do. Optional.
	Administrators func() *roles.Rules
	// Audience is this broker's name in administrators' tokens: one for
	// another broker does nothing here. Without it, none does.
	Audience string
	// PlainAdminTokens accepts tokens as Trustee's clients make them, which
	// name no broker and no request: who has one can use it again.
	PlainAdminTokens bool

	Verifiers []attest.Verifier // of the kinds of evidence that are accepted
	// AttestationKeys gives the keys that policies find in data. It is asked for
	// each decision: the same pointer means the same keys. Optional.
	AttestationKeys func() *AttestationKeys

	// VerifyReference checks the signatures of an envelope of reference values
	// and returns its content. Without it no image can be trusted.
	VerifyReference func(envelope []byte) (*api.ReferenceValues, error)

	// ReadContents checks who signed the provenance of a machine image, and
	// that the bill of materials is the one that it states. Without it the
	// broker keeps none.
	ReadContents func(provenance, bill []byte) (*api.ImageContents, error)

	// Proofs makes every release leave a proof. Without it, none does.
	Proofs *Proofs

	// Plugins serve other kinds of resources, below /kbs/v0/NAME/ each.
	Plugins []Plugin

	Issuer      string        // this broker's name in its tokens; "holdfast" when empty
	SessionLife time.Duration // from challenge to last use; 5 minutes when 0, as Trustee's
	TokenLife   time.Duration // 5 minutes when 0
	MaxSessions int           // attested ones, of 4 KiB; 16384 when 0
	Limits      Limits

	Now func() time.Time // time.Now when nil
	Log *slog.Logger     // discards when nil
}

// A Broker is an http.Handler. Two brokers may share a folder and a state.
type Broker struct {
	cfg       Config
	verifiers map[string]attest.Verifier // by name of the TEE
	log       *slog.Logger
	state     State
	audit     *auditLog
	tokens    *tokenMaker
	sessions  *sessions
	begun     *challenges
	brakes    brakes
	adminIDs  answered
	book      ruleBook
	documents documents
	came      recent[string, *proof.Admitted] // how machines came in, by session
	counts    counters
	desks     desks
	mux       *http.ServeMux
}

// New makes a broker and its folder. It starts nothing: serve it with
// net/http.
func New(cfg Config) (*Broker, error) {
	if cfg.TokenKeys == nil {
		if cfg.TokenKey == nil {
			return nil, errors.New("broker: there is no token key")
		}
		cfg.TokenKeys = fixed(TokenKey{Signer: cfg.TokenKey})
	}
	if _, err := newSigningKey(cfg.TokenKeys().Current); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if cfg.Dir == "" || cfg.State == nil {
		return nil, errors.New("broker: no folder and state are set")
	}
	if len(cfg.Verifiers) == 0 {
		return nil, errors.New("broker: no verifier is configured")
	}
	setDefaults(&cfg)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	audit, err := openAudit(cfg)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &Broker{
		cfg: cfg, log: cfg.Log, state: cfg.State, audit: audit,
		verifiers: map[string]attest.Verifier{},
		tokens:    &tokenMaker{keys: cfg.TokenKeys, issuer: cfg.Issuer, life: cfg.TokenLife, now: cfg.Now, issuers: cfg.Issuers, clock: ratchet{life: cfg.TokenLife}},
		sessions:  newSessions(cfg.MaxSessions, cmp.Or(cfg.Limits.SessionsPerDevice, 16), cfg.SessionLife, cfg.Now),
		begun:     newChallenges(cfg.SessionLife, cfg.Now),
		brakes:    cfg.Limits.brakes(),
		adminIDs:  answered{life: adminLife + 2*adminLeeway, max: maxAnswered, turned: cfg.Now()},
	}
	for _, v := range cfg.Verifiers {
		b.verifiers[v.TEE()] = v
	}
	b.routes()
	return b, nil
}

func setDefaults(cfg *Config) {
	if cfg.Issuer == "" {
		cfg.Issuer = unnamed
	}
	if cfg.SessionLife == 0 {
		cfg.SessionLife = 5 * time.Minute
	}
	if cfg.TokenLife == 0 {
		cfg.TokenLife = TokenLife
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 16384
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

// A handler answers or says why not.
type handler func(w http.ResponseWriter, r *http.Request) error

func (b *Broker) routes() {
	b.mux = http.NewServeMux()
	b.routeProtocol()
	b.routeImages()
	b.routeRules()
	b.routeRecords()
	for _, p := range b.cfg.Plugins {
		b.routePlugin(p)
	}
	b.handle("/", func(_ http.ResponseWriter, r *http.Request) error {
		return refuse(http.StatusNotFound, kindNotFound, "%s %s is not served here", r.Method, r.URL.Path)
	})
	b.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	b.mux.HandleFunc("GET /metrics", b.getMetrics)
	b.mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		if err := b.getKeySet(w, r); err != nil {
			b.writeProblem(w, r, err)
		}
	})
}

// routeProtocol routes what Trustee's KBS has, too.
func (b *Broker) routeProtocol() {
	b.handle("POST /auth", b.postAuth)
	b.handle("POST /attest", b.postAttest)
	b.handle("GET /resource/{repository}/{type}/{tag}", b.getResource)
	b.handleAdmin("POST /resource/{repository}/{type}/{tag}", b.setResource)
	b.handleAdmin("DELETE /resource/{repository}/{type}/{tag}", b.deleteResource)
	b.handleAdmin("POST /attestation-policy", b.setAttestationPolicy)
	b.handleAdmin("POST /resource-policy", b.setResourcePolicy)
	b.handleAdmin("GET /resource-policy", b.listPolicies)
	b.handleAdmin("POST /reference-value", b.trustImage)
	b.handleAdmin("GET /reference-value", b.listImages)
	b.handleAdmin("GET /reference-value/{id}", b.getImage)
	b.handleAdmin("DELETE /reference-value/{id}", b.distrustImage)
}

// routeImages routes what is said of images, and who rebuilt them.
func (b *Broker) routeImages() {
	b.handleAdmin("POST /holdfast/images", b.setStanding)
	b.handleAdmin("GET /holdfast/rebuilders", b.listRebuilders)
	b.handleAdmin("POST /holdfast/rebuilders", b.addRebuilder)
	b.handleAdmin("DELETE /holdfast/rebuilders/{name}", b.removeRebuilder)
	b.handleAdmin("GET /holdfast/rebuilds", b.listRebuilds)
	b.handleAdmin("POST /holdfast/rebuilds", b.loadRebuild)
	b.handleAdmin("DELETE /holdfast/rebuilds/{id}", b.forgetRebuild)
	b.handleAdmin("GET /holdfast/requirements", b.getRequirements)
	b.handleAdmin("POST /holdfast/requirements", b.setRequirements)
	b.handleAdmin("GET /holdfast/contents", b.listContents)
	b.handleAdmin("POST /holdfast/contents", b.loadContents)
}

// routeRules routes what decides, and who may have what.
func (b *Broker) routeRules() {
	b.handleAdmin("GET /holdfast/policies/{kind}", b.getPolicy)
	b.handleAdmin("POST /holdfast/policies/{kind}", b.changePolicy)
	b.handleAdmin("GET /holdfast/configurations", b.listConfigurations)
	b.handleAdmin("POST /holdfast/configurations", b.authoriseConfiguration)
	b.handleAdmin("DELETE /holdfast/configurations/{digest}", b.withdrawConfiguration)
	b.handleAdmin("GET /holdfast/resources", b.listResources)
	b.handleAdmin("GET /holdfast/history/{kind}", b.listHistory)
	b.handleAdmin("GET /holdfast/history/{kind}/{number}", b.getVersion)
	b.handleAdmin("POST /holdfast/rollback", b.rollBack)
	b.handleAdmin("POST /holdfast/keywrap", b.postKeyWrap)
	b.handleAdmin("POST /holdfast/keyunwrap", b.postKeyUnwrap)
}

// routeRecords routes what came of requests.
func (b *Broker) routeRecords() {
	b.handleAdmin("GET /holdfast/decisions", b.listDecisions)
	b.handleAdmin("GET /holdfast/audit", b.getAudit)
	b.handleAdmin("GET /holdfast/proofs", b.listProofs)
	b.handleAdmin("GET /holdfast/proofs/{id}", b.getProof)
	b.handle("GET /holdfast/jwks", b.getKeySet)
}

// handle routes "METHOD /path" below the KBS prefix.
func (b *Broker) handle(pattern string, h handler) {
	b.mux.HandleFunc(prefixed(pattern), func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			b.writeProblem(w, r, err)
		}
	})
}

func prefixed(pattern string) string {
	if method, path, ok := strings.Cut(pattern, " "); ok {
		return method + " " + api.KBSPrefix + path
	}
	return pattern
}

// ServeHTTP implements http.Handler.
func (b *Broker) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

// Sessions returns how many attested sessions the broker remembers.
func (b *Broker) Sessions() int { return b.sessions.count() }

// record writes an entry to the audit log. When that fails nothing may be
// allowed, so its error ends the request.
func (b *Broker) record(ctx context.Context, e api.AuditEntry) error {
	if err := b.audit.append(e); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	b.counts.decision(e)
	b.log.Info("decision", "action", e.Action, "decision", e.Decision, "session", e.Session,
		"resource", e.Resource, "subject", e.Subject, "reasons", e.Reasons)
	return nil
}
