// Package control lets the verbs of the command line speak to a node that
// another process runs.
//
// It is HTTP over a socket in the installation's folder, which only its owner
// can open: who can read the keys there can do all that this can.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"holdfast/internal/peer"
)

// maxBody bounds requests and answers.
const maxBody = 4 << 20

// request is what is asked about whom.
type request struct {
	Peer string `json:"peer"` // an address or an ID
}

// pong is the answer to a ping.
type pong struct {
	RoundTrip time.Duration `json:"round_trip_ns"`
}

type problem struct {
	Error   string `json:"error"`
	Unknown bool   `json:"unknown,omitempty"` // peer.ErrUnknownPeer
}

// Handler answers for a node.
func Handler(n *peer.Node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, n.Status(), nil) })
	mux.HandleFunc("POST /add", about(func(_ context.Context, whom string) (any, error) { return struct{}{}, n.Add(whom) }))
	mux.HandleFunc("POST /remove", about(func(_ context.Context, whom string) (any, error) { return struct{}{}, n.Remove(whom) }))
	mux.HandleFunc("POST /ping", about(func(ctx context.Context, whom string) (any, error) {
		took, err := n.Ping(ctx, whom)
		return pong{took}, err
	}))
	return mux
}

func about(do func(ctx context.Context, whom string) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		var r request
		if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, maxBody)).Decode(&r); err != nil {
			answer(w, nil, fmt.Errorf("request: %w", err))
			return
		}
		v, err := do(q.Context(), r.Peer)
		answer(w, v, err)
	}
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusUnprocessableEntity)
		v = problem{err.Error(), errors.Is(err, peer.ErrUnknownPeer)}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// A Client speaks to the node behind a socket.
type Client struct{ http *http.Client }

// NewClient connects when it is first used.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}}}
}

// Status describes the node.
func (c *Client) Status(ctx context.Context) (s peer.Status, err error) {
	return s, c.do(ctx, http.MethodGet, "status", nil, &s)
}

// Add lists a peer at the node.
func (c *Client) Add(ctx context.Context, address string) error {
	return c.do(ctx, http.MethodPost, "add", request{address}, nil)
}

// Remove takes it off the list.
func (c *Client) Remove(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "remove", request{id}, nil)
}

// Ping measures how long a peer's answer takes.
func (c *Client) Ping(ctx context.Context, whom string) (time.Duration, error) {
	var p pong
	err := c.do(ctx, http.MethodPost, "ping", request{whom}, &p)
	return p.RoundTrip, err
}

func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://node/"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	a, err := c.http.Do(q)
	var about *url.Error // names a URL that nobody knows
	if errors.As(err, &about) {
		return about.Err
	}
	if err != nil {
		return err
	}
	defer a.Body.Close()
	d := json.NewDecoder(io.LimitReader(a.Body, maxBody))
	if a.StatusCode != http.StatusOK {
		var p problem
		if err := d.Decode(&p); err != nil {
			return fmt.Errorf("node answers %s", a.Status)
		}
		return p.err()
	}
	if into == nil {
		return nil
	}
	return d.Decode(into)
}

// A refusal is a node's own error, as it told it.
type refusal struct{ problem }

func (r refusal) Error() string { return r.problem.Error }

func (r refusal) Is(target error) bool { return r.Unknown && target == peer.ErrUnknownPeer }

func (p problem) err() error { return refusal{p} }
