package initramfs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/internal/ignition/report"
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
	host := net.IPv4(10, 0, 2, 2)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{host}, IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	s := &server{authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})}
	serves := httptest.NewUnstartedServer(s)
	serves.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
	serves.StartTLS()
	t.Cleanup(serves.Close)
	_, port, err := net.SplitHostPort(serves.Listener.Addr().String())
	check(t, err)
	s.url = "https://" + net.JoinHostPort(host.String(), port)
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
