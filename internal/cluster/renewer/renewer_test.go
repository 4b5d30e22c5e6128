package renewer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/cluster/pki"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load gives the certificate of a pair that matches.
func load(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	check(t, err)
	return pair.Leaf
}

// After two thirds of its time a certificate is made anew, as it was and by whom it was,
// over its key. What is young, what is an authority's and what is foreign stays.
func TestACertificateIsRenewedBeforeItEnds(t *testing.T) {
	authorities, dir, begin := t.TempDir(), t.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keys, err := pki.Open(authorities, begin)
	check(t, err)
	foreign, err := pki.Open(t.TempDir(), begin)
	check(t, err)
	write := func(name string, a *pki.Authority, s pki.Subject, life time.Duration) {
		p, err := a.Issue(s, begin, life)
		check(t, err)
		check(t, errors.Join(os.WriteFile(filepath.Join(dir, name+".crt"), p.Cert, 0o600), os.WriteFile(filepath.Join(dir, name+".key"), p.Key, 0o600)))
	}
	server := pki.Subject{Name: "kube-apiserver", DNS: []string{"kubernetes"}, IPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}
	write("apiserver", keys.Cluster, server, 90*24*time.Hour)
	write("apiserver-etcd", keys.Etcd, pki.Subject{Name: "kube-apiserver", Groups: []string{"a"}}, 90*24*time.Hour)
	write("young", keys.Cluster, pki.Subject{Name: "young"}, 365*24*time.Hour)
	write("foreign", foreign.Cluster, pki.Subject{Name: "foreign"}, 90*24*time.Hour)
	check(t, os.WriteFile(filepath.Join(dir, "ca.crt"), keys.Cluster.PEM, 0o600))
	before := map[string]*x509.Certificate{}
	for _, name := range []string{"apiserver", "apiserver-etcd", "young", "foreign"} {
		before[name] = load(t, dir, name)
	}
	now := begin.Add(61 * 24 * time.Hour)
	err = Config{Authorities: authorities, Folders: []string{dir}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}.round()
	if err == nil || !strings.Contains(err.Error(), "foreign.crt: certificate of foreign: no authority") || strings.Count(err.Error(), "\n") != 0 {
		t.Errorf("got %v, want the foreign one named alone", err)
	}
	for name, by := range map[string]*pki.Authority{"apiserver": keys.Cluster, "apiserver-etcd": keys.Etcd} {
		old, got := before[name], load(t, dir, name)
		if got.Equal(old) || !got.NotAfter.After(now.Add(300*24*time.Hour)) {
			t.Errorf("%s: got one until %v", name, got.NotAfter)
		}
		if err := got.CheckSignatureFrom(by.Cert); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.Equal(got.RawSubject, old.RawSubject) || strings.Join(got.DNSNames, " ") != strings.Join(old.DNSNames, " ") ||
			len(got.IPAddresses) != len(old.IPAddresses) || len(got.ExtKeyUsage) != len(old.ExtKeyUsage) || got.KeyUsage != old.KeyUsage {
			t.Errorf("%s: got %+v, want it as it was", name, got)
		}
	}
	for _, name := range []string{"young", "foreign"} {
		if !load(t, dir, name).Equal(before[name]) {
			t.Errorf("%s was changed", name)
		}
	}
	if raw, err := os.ReadFile(filepath.Join(dir, "ca.crt")); !bytes.Equal(raw, keys.Cluster.PEM) {
		t.Errorf("the authority was changed: %v", err)
	}
}

// A create that starts another node writes new pairs for it while this looks: they stay.
func TestAPairThatWasMadeAnewMeanwhileIsKept(t *testing.T) {
	authorities, dir, begin := t.TempDir(), t.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	keys, err := pki.Open(authorities, begin)
	check(t, err)
	now := begin.Add(61 * 24 * time.Hour)
	write := func(at time.Time) {
		p, err := keys.Cluster.Issue(pki.Subject{Name: "proxy"}, at, 90*24*time.Hour)
		check(t, err)
		check(t, errors.Join(os.WriteFile(filepath.Join(dir, "proxy.crt"), p.Cert, 0o600), os.WriteFile(filepath.Join(dir, "proxy.key"), p.Key, 0o600)))
	}
	write(begin)
	asked := 0
	clock := func() time.Time {
		if asked++; asked == 2 { // after the old one was read
			write(now)
		}
		return now
	}
	check(t, Config{Authorities: authorities, Folders: []string{dir}, Log: slog.New(slog.DiscardHandler), Now: clock}.round())
	if got := load(t, dir, "proxy"); asked != 2 || !got.NotBefore.After(begin.Add(60*24*time.Hour)) {
		t.Errorf("asked for the time %d times; got one from %v", asked, got.NotBefore)
	}
}
