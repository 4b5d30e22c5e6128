package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
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
		refuseSize(w, left)
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

func refuseSize(w http.ResponseWriter, limit int64) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusRequestEntityTooLarge)
	_, _ = io.WriteString(w, `{"errors":[{"code":"SIZE_INVALID","message":"larger than the `+
		strconv.FormatInt(max(limit, 0), 10)+` bytes that this registry accepts"}]}`)
}
