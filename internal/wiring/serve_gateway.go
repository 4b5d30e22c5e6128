package wiring

import (
	"holdfast/internal/blob/ipfs"
	"holdfast/internal/gateway"
	"holdfast/internal/registry"
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
	h, err := gateway.New(gateway.Config{Blocks: s.blobs.store, Hosts: c.Gateway.Hosts})
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

// openBlobs opens the registry's blobs as IPFS content, if anybody serves them
// so, and has the registry tell of new ones.
func (i Installation) openBlobs(s *Services, c ServeConfig, r *registry.Config) (err error) {
	if c.Gateway.Listen == "" && c.Peer.Swarm == "" {
		return nil
	}
	if s.blobs, err = i.Blobs(c.RegistryDir, c.Log); err != nil {
		return err
	}
	s.blobs.store.Start()
	r.Stored, r.Pinned = s.blobs.store.Stored, s.blobs.store.IsKept
	r.Observer = busy{next: r.Observer, store: s.blobs.store}
	return nil
}

// busy has the index of blobs wait while the registry answers.
type busy struct {
	next  registry.Observer // or nil
	store *ipfs.Store
}

func (b busy) Request(r registry.Answered) {
	b.store.Busy()
	if b.next != nil {
		b.next.Request(r)
	}
}

func (b busy) Fetched(bytes int64, err error) {
	b.store.Busy()
	if b.next != nil {
		b.next.Fetched(bytes, err)
	}
}

func (s *Services) closeBlobs() error {
	if s.blobs == nil {
		return nil
	}
	return s.blobs.Close()
}
