package machine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"holdfast/internal/api"
)

// silence is how long a service may send nothing when something is awaited.
const silence = 30 * time.Second

// Pinned is a client for which only the endpoint's own CA vouches. It asks no
// proxy, and speaks HTTP/1.1: one request after the other is what a guest does.
func Pinned(e api.Endpoint) (*http.Client, error) { return pinned(e, silence) }

func pinned(e api.Endpoint, silence time.Duration) (*http.Client, error) {
	if u, err := url.Parse(e.URL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("URL %.80q: want https://HOST:PORT", e.URL)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(e.CA)) {
		return nil, errors.New("the configuration holds no CA certificate for it")
	}
	return &http.Client{Transport: &http.Transport{
		DialContext:           impatient(silence),
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout:   silence,
		ResponseHeaderTimeout: silence,
		DisableCompression:    true,
	}}, nil
}

// impatient connections end when nothing came for the time of silence, be it in
// the midst of a body: else a registry that stalls would hold a machine for ever.
func impatient(silence time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: silence}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &impatientConn{conn, silence}, nil
	}
}

type impatientConn struct {
	net.Conn
	silence time.Duration
}

func (c *impatientConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%s sent nothing for %s: %w", c.RemoteAddr(), c.silence, err)
	}
	return n, err
}
