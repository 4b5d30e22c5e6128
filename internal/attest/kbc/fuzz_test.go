package kbc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/api"
)

// What opens is the one resource that was sealed to this key, whatever was
// done to it on the way.
//
//fuzz:parser resource.go:open
func FuzzJWE(f *testing.F) {
	key, jwes := vectors(f)
	for _, jwe := range jwes {
		f.Add([]byte(jwe))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := open(data, key); err == nil && string(got) != "a resource of the broker" {
			t.Errorf("opened to %q", got)
		}
	})
}

//fuzz:parser handshake.go:challengeParams http.go:problem
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"selected-hash-algorithm":"sha384","tpm-activation":{"credential-blob":"YQ==","encrypted-secret":"YQ=="}}`))
	f.Add([]byte(`{"selected-hash-algorithm":"sha256"}`))
	f.Add([]byte(`""`))
	f.Add([]byte(`{"type":"t","detail":"d"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := challengeParams(data)
		if err == nil && p.SelectedHashAlgorithm != "" && p.SelectedHashAlgorithm != "sha384" {
			t.Errorf("took hash %q", p.SelectedHashAlgorithm)
		}
		if problem(401, data).Error() == "" {
			t.Error("a problem without words")
		}
	})
}

// A script is a broker that says what the fuzzer wants, step by step.
type script struct {
	steps [][]byte
	asked int
}

func (s *script) RoundTrip(*http.Request) (*http.Response, error) {
	var body []byte
	if s.asked < len(s.steps) {
		body = s.steps[s.asked]
	}
	s.asked++
	status := http.StatusOK
	if rest, ok := bytes.CutPrefix(body, []byte("401")); ok {
		status, body = http.StatusUnauthorized, rest
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(body)),
		Header: http.Header{"Set-Cookie": {"kbs-session-id=0123"}}}, nil
}

type believer struct{}

func (believer) TEE() string { return "tpm" }
func (believer) Offer(context.Context) (*api.ActivationOffer, error) {
	return &api.ActivationOffer{}, nil
}
func (believer) Evidence(context.Context, []byte, *api.ActivationChallenge) (json.RawMessage, error) {
	return json.RawMessage("{}"), nil
}

// A whole handshake with a hostile broker ends, within the requests that the
// protocol has, and never in a resource: that would have to be sealed to the
// client's fresh key.
//
//fuzz:parser handshake.go http.go:post,do,problem resource.go kbc.go:Resource,resourcePath,plain
func FuzzHandshake(f *testing.F) {
	_, jwes := vectors(f)
	challenge := []byte(`{"nonce":"bm9uY2U=","extra-params":{"selected-hash-algorithm":"sha384"}}`)
	f.Add("kbs:///a/b/c", challenge, []byte(`{"token":"t"}`), []byte(jwes["good"]))
	f.Add("kbs:///a/b/c", challenge, []byte(`401{"type":"TokenNotFound","detail":"d"}`), []byte("{}"))
	f.Add("kbs:///a/../c", []byte(`{"nonce":""}`), []byte(`{"token":""}`), []byte("401"))
	f.Fuzz(func(t *testing.T, uri string, challenge, token, resource []byte) {
		s := &script{steps: [][]byte{challenge, token, resource}}
		c, err := New(Config{URL: "https://broker", Attester: believer{}, HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Resource(t.Context(), uri); err == nil {
			t.Errorf("%s is %q", uri, got)
		}
		if path, err := resourcePath(uri); s.asked > 3 || err != nil && s.asked > 0 || strings.Contains("/"+path+"/", "/../") {
			t.Errorf("%q, %v: %d requests", path, err, s.asked)
		}
	})
}
