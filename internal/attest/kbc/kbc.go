// Package kbc is a machine's side of the KBS protocol: it proves the machine to
// a broker and receives resources that only this machine can read.
//
// One Client stands for one ephemeral key. The broker wraps each resource to
// that key after the evidence bound it; nothing on the way can read it.
package kbc

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"holdfast/internal/api"
)

// An Attester makes the evidence of this machine's hardware.
type Attester interface {
	// TEE is the kind of evidence, by its KBS name.
	TEE() string
	// Offer is what the broker needs to challenge the hardware.
	Offer(context.Context) (*api.ActivationOffer, error)
	// Evidence is bound to runtimeDigest and answers the challenge, which is
	// nil when the broker sent none.
	Evidence(ctx context.Context, runtimeDigest []byte, challenge *api.ActivationChallenge) (json.RawMessage, error)
}

// Config is what a Client works with. URL and Attester are required.
type Config struct {
	URL      string       // of the broker, without the KBS prefix
	HTTP     *http.Client // holds the pinned CA in its transport; default http.DefaultClient
	Attester Attester
	InitData []byte // the document that was measured; nil when there is none
	// Patience bounds the time that one request waits because the broker says
	// that it has too much to do: a minute when 0.
	Patience time.Duration
	Log      *slog.Logger
}

// A Client talks to one broker. Its methods may be called from several
// goroutines.
type Client struct {
	config  Config
	mu      sync.Mutex // guards all below
	key     *ecdsa.PrivateKey
	session session
}

// New returns a Client with a fresh P-256 key. It sends nothing.
func New(c Config) (*Client, error) {
	if c.URL == "" || c.Attester == nil {
		return nil, errors.New("KBS client: broker URL and attester are required")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Patience = cmp.Or(c.Patience, time.Minute)
	c.URL = strings.TrimSuffix(c.URL, "/")
	c.HTTP = unredirected(c.HTTP)
	return &Client{config: c, key: key}, nil
}

// unredirected refuses to follow redirects: the broker is the one configured.
func unredirected(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}

// Attest proves the machine, whether or not that was done before. Resource does
// so by itself when it needs to.
func (c *Client) Attest(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attest(ctx)
}

// Resource fetches kbs:///REPOSITORY/TYPE/TAG. What the broker refuses is a
// *Problem.
func (c *Client) Resource(ctx context.Context, uri string) ([]byte, error) {
	path, err := resourcePath(uri)
	if err != nil {
		return nil, err
	}
	data, err := c.ask(ctx, call{method: http.MethodGet, path: "/resource/" + path})
	var problem *Problem
	if errors.As(err, &problem) && problem.Kind() == api.KindKept {
		err = &Kept{client: c, path: path, problem: problem}
	}
	if err != nil {
		return nil, fmt.Errorf("resource %s: %w", uri, err)
	}
	return data, nil
}

// ask makes a call within the session, beginning one when there is none, or
// when the broker does not know it any more.
func (c *Client) ask(ctx context.Context, what call) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := c.session.token == ""
	if fresh {
		if err := c.attest(ctx); err != nil {
			return nil, err
		}
	}
	data, err := c.call(ctx, what)
	var problem *Problem
	if !fresh && errors.As(err, &problem) && problem.expired() {
		if err := c.attest(ctx); err != nil {
			return nil, err
		}
		data, err = c.call(ctx, what)
	}
	return data, err
}

// resourcePath checks the three segments of a KBS resource (resource_uri.md of
// the Confidential Containers guest components).
func resourcePath(uri string) (string, error) {
	path, ok := strings.CutPrefix(uri, "kbs:///")
	parts := strings.Split(path, "/")
	ok = ok && len(parts) == 3
	for _, p := range parts {
		ok = ok && plain(p)
	}
	if !ok {
		return "", fmt.Errorf("resource %q: expected kbs:///REPOSITORY/TYPE/TAG of letters, digits and ._-", uri)
	}
	return path, nil
}

// plain names need no escaping and cannot climb.
func plain(name string) bool {
	allowed := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	return name != "" && name != "." && name != ".." && strings.TrimFunc(name, allowed) == ""
}

// Close forgets the key and the token; Go has no means to wipe them. Nothing
// can be fetched afterwards.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.key, c.session = nil, session{}
}
