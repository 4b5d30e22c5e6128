package wiring

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/keys"
	"holdfast/internal/swtpm"
)

// An opensslCheck walks certificates with another program's eyes.
type opensslCheck struct {
	*testing.T
	tool, dir string
	seen      int
}

func (c *opensslCheck) file(name string, b []byte) string {
	c.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}

func (c *opensslCheck) run(args ...string) string {
	c.Helper()
	out, err := exec.Command(c.tool, args...).CombinedOutput()
	if err != nil {
		c.Errorf("openssl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// accept wants the certificate read, its key found sound, and its chain good
// for what it is for.
func (c *opensslCheck) accept(certificate, roots string, verify ...string) {
	c.Helper()
	c.seen++
	if text := c.run("x509", "-in", certificate, "-noout", "-text"); !strings.Contains(text, "Version: 3") {
		c.Errorf("%s: is not a version 3 certificate:\n%s", certificate, text)
	}
	key := c.file("public.pem", []byte(c.run("x509", "-in", certificate, "-noout", "-pubkey")))
	c.run("pkey", "-pubin", "-in", key, "-noout", "-pubcheck")
	c.run(append(append([]string{"verify", "-x509_strict", "-CAfile", roots}, verify...), certificate)...)
}

// Every certificate that an installation has: its ring, the servers', and those
// of its TPMs' maker, down to the endorsement key's inside the TPM.
func TestOpensslAcceptsEveryCertificateOfAnInstallation(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("needs openssl: apt-get install openssl")
	}
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools", err)
	}
	in, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := in.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &opensslCheck{T: t, tool: tool, dir: t.TempDir()}
	root := filepath.Join(in.Keys(), keys.Root+".crt")
	purposes := map[string][]string{keys.Admin: {"-purpose", "sslclient"}}
	for _, name := range keys.Names() {
		c.accept(filepath.Join(in.Keys(), name+".crt"), root, purposes[name]...)
	}
	c.servers(in, ring, root)
	c.tpms(in)
	c.noneElse(in)
	if want := len(keys.Names()) + 2 + 3; c.seen != want {
		t.Errorf("looked at %d certificates, want %d", c.seen, want)
	}
}

// servers asks each server for its certificate over TLS.
func (c *opensslCheck) servers(in Installation, ring *keys.Ring, root string) {
	s, err := in.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", TLS: true})
	if err != nil {
		c.Fatal(err)
	}
	defer s.Close()
	for name, server := range map[string]*server{"registry": s.registry, "broker": s.broker} {
		u, err := url.Parse(server.url)
		if err != nil {
			c.Fatal(err)
		}
		conn, err := tls.Dial("tcp", u.Host, &tls.Config{InsecureSkipVerify: true}) // openssl is to judge
		if err != nil {
			c.Fatal(err)
		}
		chain := conn.ConnectionState().PeerCertificates
		_ = conn.Close()
		var sent []string
		for i, cert := range chain {
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
			sent = append(sent, c.file(fmt.Sprintf("%s-%d.pem", name, i), text))
		}
		if len(sent) != 2 {
			c.Fatalf("%s sends %d certificates, want its own and the CA's", server.url, len(sent))
		}
		c.accept(sent[0], root, "-untrusted", sent[1], "-purpose", "sslserver", "-verify_ip", "127.0.0.1")
	}
}

// tpms makes a TPM as run does, and takes its certificate out of it.
func (c *opensslCheck) tpms(in Installation) {
	dir := filepath.Join(in.Machine("x"), "tpm")
	if err := swtpm.Manufacture(c.Context(), swtpm.Config{Dir: dir, CADir: in.TPMAuthority()}); err != nil {
		c.Fatal(err)
	}
	maker := filepath.Join(in.TPMAuthority(), "swtpm-localca-rootca-cert.pem")
	issuer := filepath.Join(in.TPMAuthority(), "issuercert.pem")
	c.accept(maker, maker)
	c.accept(issuer, maker)
	t, err := swtpm.Open(c.Context(), dir)
	if err != nil {
		c.Fatal(err)
	}
	defer t.Close()
	offer, err := tpm.New(tpm.Config{TPM: t}).Offer(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	ek := c.file("ek.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: offer.EKCertificate}))
	// Its critical alternative name is a directory name with TCG's attributes,
	// which openssl reads but does not judge.
	c.accept(ek, maker, "-untrusted", issuer, "-ignore_critical")
	if text := c.run("x509", "-in", ek, "-noout", "-ext", "extendedKeyUsage"); !strings.Contains(text, "2.23.133.8.1") && !strings.Contains(text, "Endorsement") {
		c.Errorf("openssl finds no endorsement key's usage:\n%s", text)
	}
	if _, err := tpm2.Unmarshal[tpm2.TPMTPublic](offer.EKPublic); err != nil {
		c.Error(err)
	}
}

// noneElse finds certificates that were made and not looked at.
func (c *opensslCheck) noneElse(in Installation) {
	known := map[string]bool{"issuercert.pem": true, "swtpm-localca-rootca-cert.pem": true}
	for _, name := range keys.Names() {
		known[name+".crt"] = true
	}
	err := filepath.WalkDir(in.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(raw), "BEGIN CERTIFICATE") && !known[d.Name()] {
			c.Errorf("%s holds a certificate that nobody checks", path)
		}
		return err
	})
	if err != nil {
		c.Error(err)
	}
}
