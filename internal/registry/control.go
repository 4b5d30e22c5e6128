package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// What keeps a folder in order runs in the process that serves it, so that it
// knows what requests are at. Another process asks for it by a socket in the
// folder, which only the folder's owner can open.

const controlSocket = ".control"

// ErrNotServed says that nobody serves the folder just now.
var ErrNotServed = errors.New("nobody serves the folder")

// A Keeper keeps a folder in order: a Registry, or a Remote one.
type Keeper interface {
	Collect(ctx context.Context, c CollectConfig) (*Collected, error)
	Verify(ctx context.Context, c VerifyConfig) (*Verified, error)
}

// Each request is one of these, each answer lines of said.
type asking struct {
	DryRun, Untagged bool
	Grace            time.Duration
	Rate             int64
}

type said struct {
	Blobs, Bytes int64
	Result       json.RawMessage `json:",omitempty"`
	Error        string          `json:",omitempty"`
}

// sayEvery bounds how often progress is told.
const sayEvery = 100 * time.Millisecond

// ServeControl answers at the folder's socket until stop is called.
func (r *Registry) ServeControl() (stop func() error, err error) {
	dir, at, err := socketIn(r.config.Dir)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(filepath.Join(r.config.Dir, controlSocket)) // of a killed process: we hold the lock
	l, err := net.Listen("unix", at)
	if err == nil {
		err = os.Chmod(filepath.Join(r.config.Dir, controlSocket), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("registry control: %w", err), dir.Close())
	}
	server := &http.Server{Handler: r.control(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return func() error {
		err := server.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return errors.Join(err, dir.Close())
	}, nil
}

// socketIn gives a short name for the socket: the kernel takes 107 bytes.
func socketIn(path string) (*os.File, string, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	return dir, fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), controlSocket), nil
}

func (r *Registry) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /collect", r.answering(func(ctx context.Context, a asking, tell func(said)) (any, error) {
		return r.Collect(ctx, CollectConfig{DryRun: a.DryRun, Untagged: a.Untagged, Grace: a.Grace,
			Progress: func(blobs int64) { tell(said{Blobs: blobs}) }})
	}))
	mux.HandleFunc("POST /verify", r.answering(func(ctx context.Context, a asking, tell func(said)) (any, error) {
		return r.Verify(ctx, VerifyConfig{Rate: a.Rate,
			Progress: func(blobs, bytes int64) { tell(said{Blobs: blobs, Bytes: bytes}) }})
	}))
	return mux
}

func (r *Registry) answering(do func(context.Context, asking, func(said)) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		r.mu.RLock()
		defer r.mu.RUnlock()
		if r.closed {
			http.Error(w, "registry is shutting down", http.StatusServiceUnavailable)
			return
		}
		var a asking
		if err := json.NewDecoder(io.LimitReader(q.Body, 1<<10)).Decode(&a); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, last := json.NewEncoder(w), time.Now()
		result, err := do(q.Context(), a, func(s said) {
			if time.Since(last) > sayEvery {
				last = time.Now()
				_ = out.Encode(s) // whoever asked may be gone; the context says so
				_ = http.NewResponseController(w).Flush()
			}
		})
		var s said
		if err == nil {
			s.Result, err = json.Marshal(result)
		}
		if err != nil {
			s = said{Error: err.Error()}
		}
		_ = out.Encode(s)
	}
}

// A Remote asks the process that serves a folder.
type Remote struct{ dir string }

// Served finds the process that serves a folder, or wraps ErrNotServed.
func Served(dir string) (*Remote, error) {
	r := &Remote{dir}
	c, err := r.dial(context.Background(), "", "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", dir, ErrNotServed, err)
	}
	return r, c.Close()
}

func (r *Remote) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	dir, at, err := socketIn(r.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", at)
}

// Collect has the serving process collect.
func (r *Remote) Collect(ctx context.Context, c CollectConfig) (*Collected, error) {
	var did Collected
	return &did, r.ask(ctx, "collect", asking{DryRun: c.DryRun, Untagged: c.Untagged, Grace: c.Grace}, &did, func(s said) {
		if c.Progress != nil {
			c.Progress(s.Blobs)
		}
	})
}

// Verify has the serving process verify.
func (r *Remote) Verify(ctx context.Context, c VerifyConfig) (*Verified, error) {
	var found Verified
	return &found, r.ask(ctx, "verify", asking{Rate: c.Rate}, &found, func(s said) {
		if c.Progress != nil {
			c.Progress(s.Blobs, s.Bytes)
		}
	})
}

func (r *Remote) ask(ctx context.Context, what string, a asking, result any, tell func(said)) error {
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://registry/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DialContext: r.dial, DisableKeepAlives: true}}
	answer, err := client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	for in := json.NewDecoder(answer.Body); ; {
		var s said
		if err := in.Decode(&s); err != nil {
			return fmt.Errorf("the registry went away: %w", err)
		}
		switch {
		case s.Error != "":
			return errors.New(s.Error)
		case s.Result != nil:
			return json.Unmarshal(s.Result, result)
		}
		tell(s)
	}
}
