// Package gateway serves IPFS content over HTTP, read-only: the path,
// subdomain and trustless gateways of https://specs.ipfs.tech/http-gateways/.
//
// It resolves no names: what a client asks for by its CID is what it gets, or
// nothing, and a trustless client can check that. No request makes this
// program ask a name server.
package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange"
	boxo "github.com/ipfs/boxo/gateway"
	"github.com/prometheus/client_golang/prometheus"
)

// Config says what to serve, and how much of it at once.
type Config struct {
	Blocks blockstore.Blockstore
	// Exchange finds blocks that Blocks has not; nil: nobody else is asked.
	Exchange exchange.Interface

	Hosts []string // under which each CID has a host of its own, as CID.ipfs.HOST; localhost when nil

	MaxSize     int64         // bytes of the file or folder that an answer is taken from; 16 GiB when 0
	MaxRequests int           // at once; 128 when 0
	Stall       time.Duration // in which a byte must come; 30 s when 0
	MaxTime     time.Duration // of an answer; an hour when 0
	Metrics     prometheus.Registerer
}

func (c Config) withDefaults() Config {
	if c.Hosts == nil {
		c.Hosts = []string{"localhost"}
	}
	if c.MaxSize == 0 {
		c.MaxSize = 16 << 30
	}
	if c.MaxRequests == 0 {
		c.MaxRequests = 128
	}
	if c.Stall == 0 {
		c.Stall = 30 * time.Second
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry() // boxo's own default is one for the whole process
	}
	return c
}

// New makes the handler.
func New(c Config) (http.Handler, error) {
	if c.Blocks == nil {
		return nil, errors.New("gateway: it needs blocks")
	}
	c = c.withDefaults()
	blocks := blockservice.New(blockstore.NewIdStore(c.Blocks), c.Exchange)
	library, err := boxo.NewBlocksBackend(blocks, boxo.WithNameSystem(nameless{}))
	if err != nil {
		return nil, err
	}
	backend := backend{library, blocks}
	config := boxo.Config{
		DeserializedResponses: true, NoDNSLink: true, PublicGateways: map[string]*boxo.PublicGateway{},
		MaxUnixFSDAGResponseSize: c.MaxSize, MaxConcurrentRequests: c.MaxRequests,
		RetrievalTimeout: c.Stall, MaxRequestDuration: c.MaxTime, MetricsRegistry: c.Metrics,
	}
	for _, host := range c.Hosts {
		config.PublicGateways[host] = &boxo.PublicGateway{
			Paths: []string{"/ipfs"}, UseSubdomains: true, NoDNSLink: true, DeserializedResponses: true,
		}
	}
	byPath := boxo.NewHandler(config, backend)
	return safe(boxo.NewHostnameHandler(config, backend, onlyIPFS(byPath))), nil
}
