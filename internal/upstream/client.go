package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// clients are logged in, each for one repository.
type clients struct {
	mu   sync.Mutex
	kept map[string]*client // guarded by mu
}

const maxClients = 500

type client struct {
	turn chan struct{} // of who logs in
	http *http.Client  // set by whoever has the turn
}

func (c *clients) get(repository string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.kept[repository]
	if found == nil {
		if len(c.kept) >= maxClients || c.kept == nil {
			c.kept = map[string]*client{}
		}
		found = &client{turn: make(chan struct{}, 1)}
		c.kept[repository] = found
	}
	return found
}

// client gives one that may pull from a repository.
func (u *upstream) client(ctx context.Context, repository string) (*http.Client, error) {
	c := u.clients.get(repository)
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.http != nil {
		return c.http, nil
	}
	made, err := u.newClient(ctx, repository)
	if err == nil {
		c.http = made
	}
	return made, err
}

func (u *upstream) newClient(ctx context.Context, repository string) (*http.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	options := []name.Option{name.StrictValidation}
	if u.url.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	registry, err := name.NewRegistry(u.url.Host, options...)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, registry, u.login.Authenticator(),
		transport.NewUserAgent(scheme{u.manners, u.url.Scheme, u.url.Host}, "holdfast"),
		[]string{registry.Repo(repository).Scope(transport.PullScope)})
	return &http.Client{Transport: t}, err
}

// scheme holds requests to the upstream to what the file says: the client
// library guesses by the host.
type scheme struct {
	http.RoundTripper
	scheme, host string
}

func (s scheme) RoundTrip(q *http.Request) (*http.Response, error) {
	if q.URL.Host == s.host && q.URL.Scheme != s.scheme {
		q = q.Clone(q.Context())
		q.URL.Scheme = s.scheme
	}
	return s.RoundTripper.RoundTrip(q)
}

// answerTime bounds all but the transfer of a blob.
const answerTime = 30 * time.Second

// newTransport bounds how many connections an upstream sees of us.
func (u *upstream) newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 u.c.Proxy,
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: answerTime,
		MaxConnsPerHost:       32,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: u.roots},
	}
}
