package wiring

import (
	"net/http"

	"holdfast/internal/gateway"
	"holdfast/internal/oci"
	"holdfast/internal/registry"
)

// GatewayConfig says where IPFS content is served over HTTP, and for whom.
type GatewayConfig struct {
	Listen string   // no gateway when empty
	Hosts  []string // localhost when nil
}

// serveGateway starts the gateway over the registry's blobs, if it is wanted.
func (s *Services) serveGateway(i Installation, c ServeConfig) error {
	if c.Gateway.Listen == "" {
		return nil
	}
	h, err := gateway.New(gateway.Config{Blocks: s.blobs.store, Hosts: c.Gateway.Hosts})
	if err != nil {
		return err
	}
	s.gateway, err = s.serve(i, "gateway", c.Gateway.Listen, h, c.TLS, nil)
	return err
}

// GatewayURL is where the gateway answers, empty when there is none.
func (s *Services) GatewayURL() string {
	if s.gateway == nil {
		return ""
	}
	return s.gateway.url
}

// openBlobs opens the registry's blobs as IPFS content, if anybody serves them
// so, and has the registry tell of new ones.
func (s *Services) openBlobs(i Installation, c ServeConfig, r *registry.Config) (err error) {
	if c.Gateway.Listen == "" && c.Peer.Swarm == "" {
		return nil
	}
	if s.blobs, err = i.blobs(c.RegistryDir, c.Log, s.recover); err != nil {
		return err
	}
	s.ends = append(s.ends, s.blobs.Close)
	s.blobs.store.Start()
	r.Stored, r.Pinned = both(r.Stored, s.blobs.store.Stored), s.blobs.store.IsKept
	return nil
}

// recover has the registry look for a blob of which a block was wrong.
func (s *Services) recover(d oci.Digest) {
	if r := s.rotten.Load(); r != nil {
		r.Recover(d)
	}
}

// holding is the registry, whose requests the index of its blobs waits for.
func (s *Services) holding(registry http.Handler) http.Handler {
	if s.blobs == nil {
		return registry
	}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		defer s.blobs.store.Hold()()
		registry.ServeHTTP(w, q)
	})
}
