package wiring

import (
	"errors"

	"holdfast/internal/gateway"
)

// GatewayConfig says where IPFS content is served over HTTP, and for whom.
type GatewayConfig struct {
	Listen string   // no gateway when empty
	Hosts  []string // localhost when nil
}

// serveGateway starts the gateway over the registry's blobs, if it is wanted.
func (i Installation) serveGateway(s *Services, c ServeConfig) error {
	if c.Gateway.Listen == "" {
		return nil
	}
	blobs, err := i.Blobs(c.RegistryDir, c.Log)
	if err != nil {
		return err
	}
	s.blobs = blobs
	blobs.store.Start()
	h, err := gateway.New(gateway.Config{Blocks: blobs.store, Hosts: c.Gateway.Hosts})
	if err != nil {
		return err
	}
	s.gateway, err = i.listen(s.ring, "gateway", c.Gateway.Listen, h, c.TLS)
	return err
}

// GatewayURL is where the gateway answers, empty when there is none.
func (s *Services) GatewayURL() string {
	if s.gateway == nil {
		return ""
	}
	return s.gateway.url
}

// closeGateway stops the gateway and lets go of its blocks.
func (s *Services) closeGateway() error {
	var err error
	if s.gateway != nil {
		err = s.gateway.close(drainTime)
	}
	if s.blobs != nil {
		err = errors.Join(err, s.blobs.Close())
	}
	return err
}
