package wiring

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"time"

	"holdfast/internal/access"
	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/broker"
	"holdfast/internal/broker/admin"
	"holdfast/internal/follow"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/registry"
)

// guestGateway is where a machine on QEMU's user network finds its host.
const guestGateway = "10.0.2.2"

// ServeConfig says where to listen. An address that others can reach is
// always spoken to by TLS.
type ServeConfig struct {
	RegistryListen, BrokerListen string
	TLS                          bool // on loopback, too
	RegistryDir                  string
	RegistryReadOnly             bool // refuses every push
	RegistryLimits               RegistryLimits
	Access                       *AccessConfig   // nil: everybody who reaches the registry may use it
	Upstreams                    *UpstreamConfig // nil: there are none
	Gateway                      GatewayConfig
	Peer                         PeerConfig
	Policy                       Enforcement
	Evidence                     EvidenceConfig
	TPMs                         TPMTrust
	BrokerLimits                 BrokerLimits
	PlainAdminTokens             bool   // of administrators, as Trustee's kbs-client makes them
	Issuers                      string // file that lists other verifiers whose tokens count; none when empty
	// Pages makes the site for people at the registry's port, of the
	// registry's handler and of what there is to tell a reader.
	Pages func(registry http.Handler, facts func(*http.Request) Facts) http.Handler
	Log   *slog.Logger
}

// Services are a registry and a broker that answer.
type Services struct {
	registry, broker *server
	gateway          *server // or nil
	blobs            *Blobs  // or nil
	swarm            *swarm  // or nil
	upstreams        *upstreams
	rules            *follow.File[*access.Rules]       // or nil
	rotten           atomic.Pointer[registry.Registry] // which is told of it
	ring             *keys.Ring
	ends             []func() error // what closes each part, in the order that they began
}

// Serve starts the registry and the broker of the installation.
func (i Installation) Serve(ring *keys.Ring, c ServeConfig) (*Services, error) {
	collectRarely(c.BrokerLimits.Sessions)
	s := &Services{ring: ring}
	if err := s.start(i, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Services) start(i Installation, c ServeConfig) error {
	trusted, err := s.followIssuers(c)
	if err != nil {
		return err
	}
	b, kept, err := i.newBroker(s.ring, c.TPMs, c.Evidence, c.Log, trusted, c.BrokerLimits.apply, func(b *broker.Config) { b.PlainAdminTokens = c.PlainAdminTokens })
	if err != nil {
		return err
	}
	s.ends = append(s.ends, kept.Close)
	if c.PlainAdminTokens && c.Log != nil {
		c.Log.Warn("administrators' tokens that name no request are taken: who sees one can use it until it expires")
	}
	if err := b.Check(context.Background()); err != nil {
		return fmt.Errorf("open broker: %w", err)
	}
	if _, err := (&tpmVerifier{installation: i, trust: c.TPMs}).verifier(); err != nil && !errors.Is(err, attest.ErrEndorsement) {
		return err
	}
	config := registry.Config{Dir: or(c.RegistryDir, i.Registry()), ReadOnly: c.RegistryReadOnly, Logger: c.Log}
	if err := s.startRegistry(i, c, config); err != nil {
		return err
	}
	if s.broker, err = s.serve(i, "broker", c.BrokerListen, b, c.TLS, nil); err != nil {
		return err
	}
	return s.serveGateway(i, c)
}

// admin speaks to the broker as its administrator.
func (s *Services) admin() *admin.Client { return newAdmin(s.ring, s.broker.url, "run") }

func newAdmin(ring *keys.Ring, url, name string) *admin.Client {
	pool := x509.NewCertPool()
	pool.AddCert(ring.Pair(keys.TLS).Certificate)
	return &admin.Client{
		URL: url, Key: ring.Pair(keys.Admin).Key, Name: name, Audience: BrokerAudience(ring),
		HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}
}

// Admin administers the installation's broker in this process, over the same
// API as if it were served.
func (i Installation) Admin(ring *keys.Ring) (*admin.Client, error) {
	b, kept, err := i.newBroker(ring, TPMTrust{}, EvidenceConfig{}, nil)
	if err != nil {
		return nil, err
	}
	client := newAdmin(ring, "http://broker.localhost", "cli")
	client.HTTP = &http.Client{Transport: inProcess{b, kept}}
	return client, nil
}

// RemoteAdmin administers the broker at address with the installation's keys.
// Without TLS a secret and the administrator's token would be anybody's on the
// way, so that is for this machine's own addresses only.
func (i Installation) RemoteAdmin(ring *keys.Ring, address string) (*admin.Client, error) {
	if err := checkBroker(address); err != nil {
		return nil, err
	}
	return newAdmin(ring, address, "cli"), nil
}

func checkBroker(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(net.JoinHostPort(u.Hostname(), u.Port()))) {
		return fmt.Errorf("broker %.80q: want https://HOST:PORT, or http:// on this machine", address)
	}
	return nil
}

// inProcess answers requests without a network.
type inProcess struct {
	handler http.Handler
	kept    io.Closer // what the handler rests on
}

// CloseIdleConnections ends what no request can use any more.
func (t inProcess) CloseIdleConnections() { _ = t.kept.Close() }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil { // which servers never see
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// newBroker opens the installation's broker: it trusts the installation's
// TPM authority, administrators and image key, and nobody else. Close its state
// after its last request. What only a served broker has, served adds.
func (i Installation) newBroker(ring *keys.Ring, trust TPMTrust, evidence EvidenceConfig, log *slog.Logger, served ...func(*broker.Config)) (*broker.Broker, *brokerState, error) {
	tokens, err := followTokenKeys(ring.Dir(), log)
	if err != nil {
		return nil, nil, fmt.Errorf("open broker: %w", err)
	}
	admins, err := i.followAdmins(log)
	if err != nil {
		return nil, nil, fmt.Errorf("open broker: %w", err)
	}
	verifiers, err := evidence.verifiers(log)
	if err != nil {
		return nil, nil, err
	}
	kept, err := i.openState(log)
	if err != nil {
		return nil, nil, err
	}
	tpms := &tpmVerifier{installation: i, trust: trust, log: log}
	config := broker.Config{
		Administrators: admins.Get, Audience: BrokerAudience(ring), Issuer: BrokerAudience(ring),
		Dir: i.Broker(), State: kept, TokenKeys: tokens.Get,
		AdminKeys: []crypto.PublicKey{ring.Pair(keys.Admin).Key.Public()},
		Verifiers: append(verifiers, tpms), AttestationKeys: tpms.listed,
		VerifyReference: func(raw []byte) (*api.ReferenceValues, error) {
			return proof.OpenReference(raw, ring.RootPool(), time.Now())
		},
		ReadContents: func(provenance, bill []byte) (*api.ImageContents, error) {
			return readContents(provenance, bill, ring.RootPool(), time.Now())
		},
		Proofs: &broker.Proofs{
			Signer: ring.Releases(), TokenCertificate: ring.Pair(keys.Token).Certificate,
			EndorsementChain: tpms.above,
		},
		Plugins: kept.vault.plugins(),
		Log:     log,
	}
	for _, edit := range served {
		edit(&config)
	}
	b, err := broker.New(config)
	if err != nil {
		return nil, nil, errors.Join(err, kept.Close())
	}
	return b, kept, nil
}
