package machine

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/keys"
)

func TestOnlyTheConfiguredAuthorityVouchesOverHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	ring, err := keys.Init(t.Context(), t.TempDir()+"/keys", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, url := range []string{"", "http://10.0.2.2:8080", "HTTP://10.0.2.2", "10.0.2.2:8080", "https:///x", "unix:///run/x"} {
		if _, err := Pinned(api.Endpoint{URL: url, CA: ca}); err == nil {
			t.Errorf("%q: got a client, want a refusal", url)
		}
	}
	if _, err := Pinned(api.Endpoint{URL: s.URL}); err == nil {
		t.Error("without a CA: got a client, want a refusal")
	}
	client, err := Pinned(api.Endpoint{URL: s.URL, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := client.Get(s.URL); err != nil {
		t.Error(err)
	} else {
		_ = a.Body.Close()
	}
	other, err := Pinned(api.Endpoint{URL: s.URL, CA: string(ring.CertificatePEM(keys.TLS))})
	if err != nil {
		t.Fatal(err)
	}
	var untrusted *tls.CertificateVerificationError
	if a, err := other.Get(s.URL); !errors.As(err, &untrusted) {
		t.Errorf("another authority's server: got %v, %v, want it refused", a, err)
	}
	if client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy from the environment would be asked")
	}
}

func TestAServiceThatStallsIsGivenUp(t *testing.T) {
	over := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		<-over
	}))
	defer s.Close()
	defer close(over)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	client, err := pinned(api.Endpoint{URL: s.URL, CA: ca}, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	a, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	if got, err := io.ReadAll(a.Body); err == nil || !strings.Contains(err.Error(), "sent nothing for 2s") || string(got) != "half" {
		t.Errorf("got %q, %v, want the half and an error", got, err)
	}
}
