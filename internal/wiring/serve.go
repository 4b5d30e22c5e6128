package wiring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"time"

	"holdfast/internal/access"
	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/broker"
	"holdfast/internal/broker/admin"
	"holdfast/internal/broker/state"
	"holdfast/internal/follow"
	"holdfast/internal/keys"
	"holdfast/internal/proof"
	"holdfast/internal/registry"
	"holdfast/internal/swtpm"
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
	rules            *follow.File[*access.Rules] // or nil
	ring             *keys.Ring
	ends             []func() error // what closes each part, in the order that they began
}

// Serve starts the registry and the broker of the installation.
func (i Installation) Serve(ring *keys.Ring, c ServeConfig) (*Services, error) {
	s := &Services{ring: ring}
	if err := s.start(i, c); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Services) start(i Installation, c ServeConfig) error {
	b, kept, err := i.newBroker(s.ring, c.Evidence, c.Log)
	if err != nil {
		return err
	}
	s.ends = append(s.ends, kept.Close)
	if err := b.Check(context.Background()); err != nil {
		return fmt.Errorf("open broker: %w", err)
	}
	config := registry.Config{Dir: or(c.RegistryDir, i.Registry()), ReadOnly: c.RegistryReadOnly, Logger: c.Log}
	c.RegistryLimits.apply(&config)
	gate, err := s.joinAccess(i, c, &config)
	if err != nil {
		return err
	}
	if err := s.openBlobs(i, c, &config); err != nil {
		return err
	}
	if err := s.joinSwarm(i, c, &config); err != nil {
		return err
	}
	if err := s.joinUpstreams(c, &config); err != nil {
		return err
	}
	if config.Gate, err = c.Policy.gate(c.RegistryListen, c.Log); err != nil {
		return err
	}
	m := newMetrics(config.Dir, s.swarm)
	config.Observer = m
	reg, err := registry.New(config)
	if err != nil {
		return fmt.Errorf("open registry: %w", err)
	}
	s.ends = append(s.ends, reg.Close)
	if err := s.controlRegistry(reg, config); err != nil {
		return err
	}
	if err := s.controlSwarm(i); err != nil {
		return err
	}
	if s.registry, err = s.serve(i, "registry", c.RegistryListen, s.newFront(c, config, s.holding(gate.handler(reg)), m), c.TLS, gate.certificate()); err != nil {
		return err
	}
	if s.broker, err = s.serve(i, "broker", c.BrokerListen, b, c.TLS, nil); err != nil {
		return err
	}
	return s.serveGateway(i, c)
}

func (s *Services) serve(i Installation, name, address string, h http.Handler, secure bool, given func() *tls.Certificate) (*server, error) {
	started, err := i.listen(s.ring, name, address, h, secure, given)
	if err == nil {
		s.ends = append(s.ends, func() error { return started.close(drainTime) })
	}
	return started, err
}

// listen serves h at address, by the certificate that is given or by one of
// the installation's CA.
func (i Installation) listen(ring *keys.Ring, name, address string, h http.Handler, secure bool, given func() *tls.Certificate) (*server, error) {
	if isLoopback(address) && !secure && given == nil {
		return listen(name, address, h, nil)
	}
	certs := &certificates{ring: ring, hosts: hostsOf(address), now: time.Now, given: given}
	if _, err := certs.get(nil); err != nil {
		return nil, err
	}
	return listen(name, address, h, certs)
}

// RegistryURL and BrokerURL are where the services answer.
func (s *Services) RegistryURL() string { return s.registry.url }
func (s *Services) BrokerURL() string   { return s.broker.url }

// Close drains both, and ends what they rest on.
func (s *Services) Close() error {
	var problems []error
	for _, end := range slices.Backward(s.ends) {
		problems = append(problems, end())
	}
	return errors.Join(problems...)
}

// admin speaks to the broker as its administrator.
func (s *Services) admin() *admin.Client { return newAdmin(s.ring, s.broker.url, "run") }

func newAdmin(ring *keys.Ring, url, name string) *admin.Client {
	pool := x509.NewCertPool()
	pool.AddCert(ring.Pair(keys.TLS).Certificate)
	return &admin.Client{
		URL: url, Key: ring.Pair(keys.Admin).Key, Name: name,
		HTTP: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}},
	}
}

// Admin administers the installation's broker in this process, over the same
// API as if it were served.
func (i Installation) Admin(ring *keys.Ring) (*admin.Client, error) {
	b, kept, err := i.newBroker(ring, EvidenceConfig{}, nil)
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
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(net.JoinHostPort(u.Hostname(), u.Port()))) {
		return nil, fmt.Errorf("broker %.80q: want https://HOST:PORT, or http:// on this machine", address)
	}
	return newAdmin(ring, address, "cli"), nil
}

// inProcess answers requests without a network.
type inProcess struct {
	handler http.Handler
	kept    io.Closer // what the handler rests on
}

// CloseIdleConnections ends what no request can use any more.
func (t inProcess) CloseIdleConnections() { _ = t.kept.Close() }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	t.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// newBroker opens the installation's broker: it trusts the installation's
// TPM authority, administrators and image key, and nobody else. Close its state
// after its last request.
func (i Installation) newBroker(ring *keys.Ring, evidence EvidenceConfig, log *slog.Logger) (*broker.Broker, *state.Store, error) {
	verifiers, err := evidence.verifiers(log)
	if err != nil {
		return nil, nil, err
	}
	kept, err := i.openState(log)
	if err != nil {
		return nil, nil, err
	}
	b, err := broker.New(broker.Config{
		Dir: i.Broker(), State: kept, TokenKey: ring.Pair(keys.Token).Key.(*ecdsa.PrivateKey),
		AdminKeys: []crypto.PublicKey{ring.Pair(keys.Admin).Key.Public()},
		Verifiers: append(verifiers, tpmVerifier{i}),
		VerifyReference: func(raw []byte) (*api.ReferenceValues, error) {
			return proof.OpenReference(raw, ring.RootPool(), time.Now())
		},
		Proofs: &broker.Proofs{
			Signer: ring.Releases(), TokenCertificate: ring.Pair(keys.Token).Certificate,
			EndorsementChain: i.endorsementChain,
		},
		Log: log,
	})
	if err != nil {
		return nil, nil, errors.Join(err, kept.Close())
	}
	return b, kept, nil
}

// A tpmVerifier trusts the TPM authority that the installation has when it is
// asked: the first software TPM made here makes it, maybe after the broker
// was started.
type tpmVerifier struct{ installation Installation }

func (v tpmVerifier) TEE() string { return "tpm" }

func (v tpmVerifier) Begin(request api.RequestParams) (attest.Session, error) {
	roots, err := swtpm.CA(v.installation.TPMAuthority())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: this broker has no authority of TPMs yet", attest.ErrEndorsement)
	}
	if err != nil {
		return nil, err
	}
	verifier, err := verify.New(verify.Config{Roots: roots})
	if err != nil {
		return nil, err
	}
	return verifier.Begin(request)
}

// endorsementChain is what stands between the certificates of TPMs made here
// and their authority's root.
func (i Installation) endorsementChain() ([][]byte, error) {
	bundle, err := swtpm.CA(i.TPMAuthority())
	if err != nil {
		return nil, err
	}
	chain := [][]byte{}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			chain = append(chain, block.Bytes)
		}
	}
	return chain, nil
}
