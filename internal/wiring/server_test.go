package wiring

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"holdfast/internal/keys"
)

func TestAClientThatStallsDoesNotKeepAServer(t *testing.T) {
	started := make(chan struct{})
	s, err := listen("test", "127.0.0.1:0", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		_, _ = io.Copy(io.Discard, r.Body)
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("tcp", s.url[len("http://"):])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := s.close(50 * time.Millisecond); err != nil {
		t.Errorf("got %v, want the client cut off", err)
	}
	_ = client.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(client); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Error("the client is still served")
		}
	}
}

func TestAServersCertificateIsRenewedBeforeItEnds(t *testing.T) {
	ring, err := keys.Init(t.Context(), filepath.Join(t.TempDir(), "keys"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &certificates{ring: ring, hosts: hostsOf("0.0.0.0:0"), now: func() time.Time { return now }}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := c.get(nil); again != first {
		t.Error("a good certificate was replaced")
	}
	now = first.Leaf.NotAfter.Add(-time.Hour)
	second, err := c.get(nil)
	if err != nil || !second.Leaf.NotAfter.After(now.Add(renewBefore)) {
		t.Errorf("got %v and %v, want a certificate that lasts", second.Leaf.NotAfter, err)
	}
}

func TestAServerOnAllAddressesIsCertifiedForEach(t *testing.T) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Skip(err)
	}
	all, one := hostsOf("0.0.0.0:5000"), hostsOf("192.0.2.7:5000")
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !slices.Contains(all, n.IP.String()) {
			t.Errorf("%s is missing in %v", n.IP, all)
		}
	}
	if !slices.Contains(one, "192.0.2.7") || slices.Contains(all, "0.0.0.0") {
		t.Errorf("got %v and %v", one, all)
	}
}

func TestServicesCanBeClosedTwice(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
