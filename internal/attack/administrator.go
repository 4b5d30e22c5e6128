package attack

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"holdfast/internal/api"
	"holdfast/internal/oci"
	"holdfast/internal/wiring"
)

// administratorAgain sends an administrator's request once more, as whoever saw
// it could: his token and all. It withdraws what was authorised in between.
func administratorAgain() Attack {
	a := Attack{Name: "administrator-again", Promise: admins, Control: honest, Want: Refusal{Broker, "the token was used before"},
		Change: "somebody who saw an administrator withdraw a configuration sends the very request again, after it was authorised anew"}
	a.Run = func(ctx context.Context, l *Lab) (Refusal, error) {
		s, err := l.site(ctx)
		if err != nil {
			return Refusal{}, err
		}
		document, err := wiring.InitData(api.GuestConfig{Image: "again"})
		if err != nil {
			return Refusal{}, err
		}
		digest := string(oci.SHA256(document))
		seen := &observer{next: s.admin.HTTP}
		watched := *s.admin
		watched.HTTP = &http.Client{Transport: seen}
		for _, do := range []func() error{
			func() error { return s.admin.Allow(ctx, digest, []string{otherKey}) },
			func() error { return watched.Withdraw(ctx, digest) },
			func() error { return s.admin.Allow(ctx, digest, []string{otherKey}) },
		} {
			if err := do(); err != nil {
				return Refusal{}, err
			}
		}
		again := *s.admin
		again.HTTP = &http.Client{Transport: repeater{seen}}
		return toldAdmin(again.Withdraw(ctx, digest))
	}
	return a
}

// An observer remembers the last request that it passed on.
type observer struct {
	next *http.Client
	last *http.Request
	body []byte
}

func (o *observer) send(r *http.Request, body []byte) (*http.Response, error) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	return o.next.Transport.RoundTrip(r)
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	o.last, o.body = r.Clone(r.Context()), body
	return o.send(r, body)
}

// A repeater sends what was observed, whatever it is asked to.
type repeater struct{ *observer }

// RoundTrip implements http.RoundTripper.
func (p repeater) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.send(p.last.Clone(r.Context()), p.body)
}
