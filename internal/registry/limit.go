package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A limited body ends in an error, and remembers that, when it is longer than
// allowed.
type limited struct {
	io.ReadCloser
	left     int64
	exceeded bool
}

var errTooLarge = errors.New("body is larger than allowed")

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= int64(n); l.left < 0 {
		l.exceeded = true
		return 0, errTooLarge
	}
	return n, err
}

// limit bounds the body of a push, and refuses at once what says that it is
// too large.
func (r *Registry) limit(w http.ResponseWriter, q *http.Request) (*limited, bool) {
	left := r.config.MaxManifest
	if strings.Contains(q.URL.Path, "/blobs/") {
		left = r.config.MaxBlob - sent(q)
	}
	if q.ContentLength > left {
		refuseSize(w)
		return nil, false
	}
	body := &limited{ReadCloser: q.Body, left: left}
	q.Body = body
	return body, true
}

// sent is how much of an upload came by earlier requests. The client sends
// back what the library told it, and the library compares.
func sent(q *http.Request) int64 {
	var state struct{ Offset int64 }
	raw, err := base64.RawURLEncoding.DecodeString(q.URL.Query().Get("state"))
	if err != nil || json.Unmarshal(raw, &state) != nil || state.Offset < 0 {
		return 0
	}
	return state.Offset
}

func refuseSize(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	refuse(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "larger than this registry accepts")
}

// refuse answers as the distribution spec wants errors.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
