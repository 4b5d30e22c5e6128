package attack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"holdfast/internal/api"
)

// A wire is a man in the middle: it passes a request on by next, or does not.
type wire func(next http.RoundTripper, r *http.Request) (*http.Response, error)

// tapped is a transport with somebody on its wire.
type tapped struct {
	next http.RoundTripper
	wire wire
}

func (t tapped) RoundTrip(r *http.Request) (*http.Response, error) { return t.wire(t.next, r) }

// attestation changes the message that brings evidence, on its way.
func attestation(change func(*api.KBSAttestation) error) wire {
	return func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if !strings.HasSuffix(r.URL.Path, "/attest") {
			return next.RoundTrip(r)
		}
		var a api.KBSAttestation
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			return nil, err
		}
		if err := change(&a); err != nil {
			return nil, err
		}
		raw, err := json.Marshal(a)
		if err != nil {
			return nil, err
		}
		return next.RoundTrip(withBody(r, raw))
	}
}

func withBody(r *http.Request, body []byte) *http.Request {
	changed := r.Clone(r.Context())
	changed.Body, changed.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return changed
}

// beforeResource does something between the proof and the first question.
func beforeResource(do func() error) wire {
	done := false
	return func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if !done && strings.Contains(r.URL.Path, "/resource/") {
			done = true
			if err := do(); err != nil {
				return nil, err
			}
		}
		return next.RoundTrip(r)
	}
}

// answer shows the answers to one request, as they pass.
func answer(path string, look func(body []byte) error) wire {
	return func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		a, err := next.RoundTrip(r)
		if err != nil || !strings.HasSuffix(r.URL.Path, path) {
			return a, err
		}
		body, err := io.ReadAll(a.Body)
		if err = errors.Join(err, a.Body.Close()); err != nil {
			return nil, err
		}
		a.Body = io.NopCloser(bytes.NewReader(body))
		return a, look(body)
	}
}
