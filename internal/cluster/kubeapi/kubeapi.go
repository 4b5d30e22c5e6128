// Package kubeapi speaks the few words of the Kubernetes API that bring-up needs:
// read, apply, watch.
//
// It is an HTTP client and no more: whoever wants types and caches takes
// k8s.io/client-go, which would be most of this program's size.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Config says whose API it is, and who asks.
type Config struct {
	URL  string // https://HOST:PORT
	CA   []byte // PEM; nobody else may vouch for the server
	Cert []byte // PEM
	Key  []byte // PEM
	// CertFile and KeyFile name them instead, and are read whenever a connection
	// begins: they may be renewed.
	CertFile, KeyFile string
}

// A Client is one user of one API server.
type Client struct {
	base string
	http *http.Client
}

// New makes a client; it connects when it is asked something.
func New(c Config) (*Client, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("kubernetes API: want the PEM of its certificate authority")
	}
	if _, err := c.pair(); err != nil {
		return nil, err
	}
	t := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return c.pair()
		}},
		TLSHandshakeTimeout: 5 * time.Second, ForceAttemptHTTP2: true,
	}
	return &Client{strings.TrimSuffix(c.URL, "/"), &http.Client{Transport: t}}, nil
}

// pair is the user's own certificate as it is now.
func (c Config) pair() (*tls.Certificate, error) {
	load := func() (tls.Certificate, error) { return tls.X509KeyPair(c.Cert, c.Key) }
	if c.CertFile != "" {
		load = func() (tls.Certificate, error) { return tls.LoadX509KeyPair(c.CertFile, c.KeyFile) }
	}
	pair, err := load()
	if err != nil {
		return nil, fmt.Errorf("kubernetes API: own certificate: %w", err)
	}
	return &pair, nil
}

// Close lets go of connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A StatusError is what the server says went wrong.
type StatusError struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP status %d", e.Code)
	}
	return e.Message
}

// maxAnswer bounds an answer that is read whole.
const maxAnswer = 64 << 20

// Get reads the object or list at path, as /api/v1/nodes, into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, "", nil, v)
}

// Put replaces the object at path.
func (c *Client) Put(ctx context.Context, path string, body, v any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPut, path, "application/json", raw, v)
}

// Ready says whether the server answers requests: nil once all its parts do.
func (c *Client) Ready(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/readyz", "", nil, nil)
}

func (c *Client) do(ctx context.Context, method, path, kind string, body []byte, v any) error {
	answer, err := c.ask(ctx, method, path, kind, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if answer.StatusCode >= http.StatusBadRequest {
		said := &StatusError{}
		_ = json.Unmarshal(raw, said) // what is no Status has its code at least
		said.Code = answer.StatusCode
		return fmt.Errorf("%s %s: %w", method, path, said)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) ask(ctx context.Context, method, path, kind string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "holdfast")
	r.Header.Set("Accept", "application/json")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	answer, err := c.http.Do(r)
	var wrapped *url.Error // names method and address once more
	if errors.As(err, &wrapped) {
		err = fmt.Errorf("%s %s: %w", method, path, wrapped.Err)
	}
	return answer, err
}

// An Event of a watch.
type Event struct {
	Type   string          `json:"type"` // ADDED, MODIFIED, DELETED, ERROR
	Object json.RawMessage `json:"object"`
}

// Watch calls each for what is there at path and for what changes, until the
// server ends the watch, ctx ends or each fails.
func (c *Client) Watch(ctx context.Context, path string, each func(Event) error) error {
	answer, err := c.ask(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("watch %s: %w", path, &StatusError{Code: answer.StatusCode})
	}
	d := json.NewDecoder(answer.Body)
	for {
		var e Event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("watch %s: %w", path, err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
}
