package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/input"
)

// moving gives up on requests of which neither body moves any more: a
// registry must not be able to keep its client for ever.
type moving struct {
	http.RoundTripper
	stall time.Duration
}

func (m moving) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	watch := time.AfterFunc(m.stall, func() { cancel(fmt.Errorf("nothing moved for %v", m.stall)) })
	end := func() { watch.Stop(); cancel(nil) }
	body := func(b io.ReadCloser, end func()) io.ReadCloser {
		return &watched{b, func() { watch.Reset(m.stall) }, end, ctx}
	}
	r = r.Clone(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = body(r.Body, func() {})
	}
	response, err := m.RoundTripper.RoundTrip(r)
	if err != nil {
		err = because(ctx, err)
		end()
		return nil, err
	}
	response.Body = body(response.Body, end)
	return response, nil
}

// watched is a body that tells when it moves and when it is closed.
type watched struct {
	io.ReadCloser
	moved, end func()
	ctx        context.Context
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err == nil {
		w.moved()
	} else if err != io.EOF {
		err = because(w.ctx, err)
	}
	return n, err
}

func (w *watched) Close() error {
	defer w.end()
	return w.ReadCloser.Close()
}

// because names what ended ctx instead of its consequence.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return input.HungUp(err)
}

// short bounds every answer that is not a blob: the client library reads those
// whole into memory.
type short struct{ http.RoundTripper }

func (s short) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := s.RoundTripper.RoundTrip(r)
	if err == nil && !isBlob(r) {
		response.Body = &bounded{response.Body, maxConfig}
	}
	return response, err
}

// isBlob also knows a request to which a registry redirected one for a blob.
func isBlob(r *http.Request) bool {
	for ; r != nil; r = r.Response.Request {
		if strings.Contains(r.URL.Path, "/blobs/") {
			return true
		}
		if r.Response == nil {
			return false
		}
	}
	return false
}

type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("the registry's answer has more than %d bytes", maxConfig)
	}
	return n, err
}
