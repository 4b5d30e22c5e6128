package ignition

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/test/port"
	"holdfast/test/selfsigned"
)

// Servers are what configs fetch from: the files of testdata/served, of which
// {{http}} and its like stand for addresses. PATH begins with conditions:
// /guarded wants a header, /gz packs, /late is not there when it is first asked.
type servers struct {
	t      *testing.T
	words  *strings.Replacer
	secure string // where a tunnel to secure.test leads
	ca     []byte

	mu    sync.Mutex
	asked map[string]int // guarded by mu
}

func newServers(t *testing.T) *servers {
	t.Helper()
	s := &servers{t: t, asked: map[string]int{}}
	plain := httptest.NewServer(s)
	t.Cleanup(plain.Close)
	secure, ca := selfsigned.Serve(t, s, time.Now().Add(time.Hour), "127.0.0.1", "secure.test")
	s.secure, s.ca = secure.Listener.Addr().String(), ca
	s.words = strings.NewReplacer("{{https}}", secure.URL, "{{http}}", plain.URL, "{{tftp}}", tftpServer(t),
		"{{ca}}", "data:,"+url.PathEscape(string(ca)), "{{ca-hash}}", fmt.Sprintf("sha256-%x", sha256.Sum256(ca)))
	return s
}

func tftpServer(t *testing.T) (address string) {
	t.Helper()
	address = port.Address(t)
	dir, err := filepath.Abs("testdata/served")
	check(t, err)
	daemon := exec.CommandContext(t.Context(), "in.tftpd", "-L", "-4", "-a", address, "-u", "root", "-p", "-s", dir)
	check(t, daemon.Start())
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	return address
}

func (s *servers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		s.tunnel(w, r)
		return
	}
	path, pack := r.URL.Path, false
	for {
		condition, rest, more := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		switch {
		case !more:
			s.file(w, condition, pack)
			return
		case condition == "guarded" && r.Header.Get("X-Key") != "open":
			http.Error(w, "no key", http.StatusForbidden)
			return
		case condition == "late" && s.first(r.URL.Path):
			http.Error(w, "later", http.StatusServiceUnavailable)
			return
		}
		pack = pack || condition == "gz"
		path = rest
	}
}

// first says every second time that it is asked that it is the first: there are
// two engines.
func (s *servers) first(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[path]++
	return s.asked[path]%2 == 1
}

func (s *servers) file(w http.ResponseWriter, name string, pack bool) {
	raw, err := os.ReadFile(filepath.Join("testdata/served", filepath.Base(name)))
	text := s.words.Replace(string(raw))
	if name == "ca" {
		text, err = string(s.ca), nil
	}
	if err != nil {
		http.Error(w, "absent", http.StatusNotFound)
		return
	}
	if pack {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text) // into memory
		_ = z.Close()
		text = b.String()
	}
	_, _ = io.WriteString(w, text)
}

// tunnel leads to the server with a certificate, whatever was asked for.
func (s *servers) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := net.Dial("tcp", s.secure)
	if err != nil || r.Host != "secure.test:443" {
		http.Error(w, "no way there", http.StatusBadGateway)
		return
	}
	defer far.Close()
	w.WriteHeader(http.StatusOK)
	near, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(far, buffered); _ = far.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(near, far)
	_ = near.Close()
	<-done
}
