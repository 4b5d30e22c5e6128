package wiring

import (
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"time"

	"holdfast/internal/keys"
)

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

// Close drains both, and ends what they rest on. Once more does nothing.
func (s *Services) Close() error {
	ends := s.ends
	s.ends = nil
	var problems []error
	for _, end := range slices.Backward(ends) {
		problems = append(problems, end())
	}
	return errors.Join(problems...)
}
