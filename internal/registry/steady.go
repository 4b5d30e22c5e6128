package registry

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A steady body breaks off when its client sends nothing for too long. Else
// who stalls would hold a connection, and his upload's session, for ever.
type steady struct {
	body   io.Reader
	out    *http.ResponseController
	within time.Duration
}

func (r *Registry) steady(w http.ResponseWriter, body io.Reader) io.Reader {
	return &steady{body, http.NewResponseController(w), r.stalled}
}

func (s *steady) Read(p []byte) (int, error) {
	_ = s.out.SetReadDeadline(time.Now().Add(s.within)) // where it can be set
	n, err := s.body.Read(p)
	if errors.Is(err, io.EOF) {
		_ = s.out.SetReadDeadline(time.Time{}) // net/http reads on, to see whether the client leaves
	}
	return n, err
}
