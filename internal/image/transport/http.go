package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func (o Options) remote() ([]remote.Option, error) {
	rt, err := o.roundTripper()
	if err != nil {
		return nil, err
	}
	return []remote.Option{
		remote.WithTransport(rt), remote.WithAuthFromKeychain(o.Keychain),
		remote.WithJobs(o.Jobs), remote.WithUserAgent("holdfast"),
	}, nil
}

func (o Options) roundTripper() (http.RoundTripper, error) {
	t := &http.Transport{
		Proxy:                 o.Proxy,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 2 * time.Minute,
		MaxIdleConnsPerHost:   o.Jobs,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if len(o.CA) == 0 {
		return schemes{short{moving{t, o.Stall}}, true}, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(o.CA) {
		return nil, errors.New("certificate authority: no certificate in PEM form")
	}
	t.TLSClientConfig.RootCAs = pool
	return schemes{short{moving{t, o.Stall}}, false}, nil
}

// schemes decides between http and https by the host alone. The client
// library would also speak plain http to private networks, and would fall back
// to it where https fails.
type schemes struct {
	http.RoundTripper
	plainLoopback bool
}

func (s schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	scheme := "https"
	if s.plainLoopback && isLoopback(r.URL.Hostname()) {
		scheme = "http"
	}
	if r.URL.Scheme != scheme {
		r = r.Clone(r.Context())
		r.URL.Scheme = scheme
	}
	return s.RoundTripper.RoundTrip(r)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
