package admin

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"

	"holdfast/internal/api"
)

// An answer stands for whatever a broker may send.
type answer struct {
	status int
	body   []byte
}

func (a answer) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Status: http.StatusText(a.status), Body: io.NopCloser(bytes.NewReader(a.body))}, nil
}

// What the broker answers is read, or is an error that says something.
//
//fuzz:parser admin.go:do,send,refusal
func FuzzAnswer(f *testing.F) {
	f.Add(uint16(200), []byte(`[{"digest":"sha256:00","resources":["a/b/c"]}]`))
	f.Add(uint16(403), []byte(`{"type":"x","detail":"no"}`))
	f.Add(uint16(500), []byte(``))
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		c := &Client{URL: "https://broker", Key: ed25519.NewKeyFromSeed(make([]byte, 32)),
			HTTP: &http.Client{Transport: answer{200 + int(status)%400, body}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
		var list []api.Configuration
		err := c.do(context.Background(), http.MethodGet, "/x", nil, &list)
		var refused *RefusedError
		switch {
		case err == nil && !json.Valid(firstValue(body)):
			t.Errorf("took %q for an answer", body)
		case errors.As(err, &refused) && refused.Error() == "":
			t.Error("a refusal without words")
		}
	})
}

func firstValue(body []byte) []byte {
	var v json.RawMessage
	_ = json.NewDecoder(bytes.NewReader(body)).Decode(&v)
	return v
}
