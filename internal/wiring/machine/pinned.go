package machine

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/api"
)

// silence is how long a service may take to begin an answer.
const silence = 30 * time.Second

// Pinned is a client for which only the endpoint's own CA vouches. It asks no
// proxy, and speaks HTTP/1.1: one request after the other is what a guest does.
func Pinned(e api.Endpoint) (*http.Client, error) {
	if u, err := url.Parse(e.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("URL %.80q: want https://HOST:PORT", e.URL)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(e.CA)) {
		return nil, errors.New("the configuration holds no CA certificate for it")
	}
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout:   silence,
		ResponseHeaderTimeout: silence,
		DisableCompression:    true,
	}}, nil
}
