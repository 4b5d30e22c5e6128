package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"testing"
)

var nodes = Nodes{"lab-1": {netip.MustParseAddr("10.89.0.2")}, "lab-2": {netip.MustParseAddr("10.89.0.3")}}

// ask is what lab-2's kubelet asks for, changed by change.
func ask(t *testing.T, change func(*x509.CertificateRequest, *request)) request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:lab-2", Organization: []string{"system:nodes"}},
		DNSNames: []string{"lab-2"}, IPAddresses: []net.IP{net.ParseIP("10.89.0.3")},
	}
	var r request
	r.Spec.Signer, r.Spec.Username = signer, "system:node:lab-2"
	r.Spec.Groups, r.Spec.Usages = []string{"system:nodes", "system:authenticated"}, []string{"digital signature", "server auth"}
	change(csr, &r)
	der, err := x509.CreateCertificateRequest(rand.Reader, csr, key)
	if err != nil {
		t.Fatal(err)
	}
	if r.Spec.Request == nil {
		r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return r
}

func TestOnlyANodesOwnNameAndAddressAreApproved(t *testing.T) {
	if err := judge(ask(t, func(*x509.CertificateRequest, *request) {}), nodes); err != nil {
		t.Fatalf("the node's own: %v", err)
	}
	for what, change := range map[string]func(*x509.CertificateRequest, *request){
		"another node's address": func(c *x509.CertificateRequest, _ *request) { c.IPAddresses = []net.IP{net.ParseIP("10.89.0.2")} },
		"one more address": func(c *x509.CertificateRequest, _ *request) {
			c.IPAddresses = append(c.IPAddresses, net.ParseIP("10.96.0.1"))
		},
		"another name":       func(c *x509.CertificateRequest, _ *request) { c.DNSNames = []string{"kubernetes"} },
		"one more name":      func(c *x509.CertificateRequest, _ *request) { c.DNSNames = append(c.DNSNames, "lab-1") },
		"no name":            func(c *x509.CertificateRequest, _ *request) { c.DNSNames, c.IPAddresses = nil, nil },
		"an address of mail": func(c *x509.CertificateRequest, _ *request) { c.EmailAddresses = []string{"a@b"} },
		"a URI":              func(c *x509.CertificateRequest, _ *request) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} },
		"in another's name":  func(_ *x509.CertificateRequest, r *request) { r.Spec.Username = "system:node:lab-1" },
		"by no node":         func(_ *x509.CertificateRequest, r *request) { r.Spec.Groups = []string{"system:authenticated"} },
		"for another group":  func(c *x509.CertificateRequest, _ *request) { c.Subject.Organization = []string{"system:masters"} },
		"for one group more": func(c *x509.CertificateRequest, _ *request) {
			c.Subject.Organization = []string{"system:nodes", "system:masters"}
		},
		"for a node that is not": func(c *x509.CertificateRequest, r *request) {
			c.Subject.CommonName = "system:node:lab-3"
			r.Spec.Username = "system:node:lab-3"
		},
		"for no node": func(c *x509.CertificateRequest, r *request) {
			c.Subject.CommonName = "lab-2"
			r.Spec.Username = "lab-2"
		},
		"a client's certificate":    func(_ *x509.CertificateRequest, r *request) { r.Spec.Usages = append(r.Spec.Usages, "client auth") },
		"to sign others":            func(_ *x509.CertificateRequest, r *request) { r.Spec.Usages = []string{"cert sign"} },
		"without serving":           func(_ *x509.CertificateRequest, r *request) { r.Spec.Usages = []string{"digital signature"} },
		"by another signer":         func(_ *x509.CertificateRequest, r *request) { r.Spec.Signer = "kubernetes.io/kube-apiserver-client" },
		"nothing that is a request": func(_ *x509.CertificateRequest, r *request) { r.Spec.Request = []byte("no PEM") },
	} {
		if err := judge(ask(t, change), nodes); err == nil {
			t.Errorf("%s: approved", what)
		}
	}
}
