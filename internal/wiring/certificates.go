package wiring

import (
	"crypto/tls"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"holdfast/internal/keys"
)

// renewBefore is how long before its end a server's certificate is replaced.
const renewBefore = 30 * 24 * time.Hour

// certificates are one server's, renewed while it runs.
type certificates struct {
	ring  *keys.Ring
	hosts []string
	now   func() time.Time
	given func() *tls.Certificate // somebody else's, instead

	mu      sync.Mutex
	current *tls.Certificate // guarded by mu
}

// get is for tls.Config.GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.given != nil {
		return c.given(), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.current != nil && now.Before(c.current.Leaf.NotAfter.Add(-renewBefore)) {
		return c.current, nil
	}
	made, err := c.ring.Server(now, c.hosts...)
	if err != nil {
		return nil, err
	}
	c.current = &made
	return c.current, nil
}

// hostsOf are the names by which clients may call a server at address: this
// machine's, and where it listens on all of its addresses, each of them.
func hostsOf(address string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1", guestGateway}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return append(hosts, host)
	}
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !slices.Contains(hosts, n.IP.String()) {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts
}
