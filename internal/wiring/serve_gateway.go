package wiring

import "holdfast/internal/gateway"

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
	if err := s.openBlobs(i, c); err != nil {
		return err
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

// openBlobs opens the registry's blobs for those that serve them otherwise.
func (s *Services) openBlobs(i Installation, c ServeConfig) (err error) {
	if s.blobs != nil {
		return nil
	}
	if s.blobs, err = i.Blobs(c.RegistryDir, c.Log); err == nil {
		s.blobs.store.Start()
		s.ends = append(s.ends, s.blobs.Close)
	}
	return err
}
