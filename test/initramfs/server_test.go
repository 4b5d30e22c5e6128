package initramfs

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/internal/ignition/report"
	"holdfast/test/selfsigned"
)

// A server serves a config to machines on QEMU's own network, and takes their
// reports; nobody but its authority vouches for it.
type server struct {
	url       string
	authority []byte // in PEM

	mu      sync.Mutex
	reports []report.Report
}

func newServer(t *testing.T) *server {
	t.Helper()
	const host = "10.0.2.2"
	s := &server{}
	var serves *httptest.Server
	serves, s.authority = selfsigned.Serve(t, s, time.Now().Add(24*time.Hour), host)
	_, port, err := net.SplitHostPort(serves.Listener.Addr().String())
	check(t, err)
	s.url = "https://" + net.JoinHostPort(host, port)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		_, _ = w.Write([]byte(more))
		return
	}
	var told report.Report
	if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, told)
}

func (s *server) told() []report.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reports)
}
