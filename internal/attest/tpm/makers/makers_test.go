package makers_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/attest/tpm/makers"
)

func TestEachRootIsTheOneThatTheReadmeNames(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for block, rest := pem.Decode(makers.Roots()); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(block.Bytes)
		if !strings.Contains(string(readme), hex.EncodeToString(sum[:])) || !cert.IsCA {
			t.Errorf("README.md does not have %x, %s", sum, cert.Subject)
		}
		n++
	}
	if rows := strings.Count(string(readme), "| `"); n == 0 || rows < n {
		t.Errorf("%d roots, and %d rows in README.md", n, rows)
	}
}

func TestEachIntermediateIsUnderARoot(t *testing.T) {
	then := time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC) // of the collection
	list, err := makers.Intermediates()
	if err != nil {
		t.Fatal(err)
	}
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM(makers.Roots())
	for _, c := range list {
		inter.AddCert(c)
	}
	for _, c := range list {
		_, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter, CurrentTime: then, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		if err != nil {
			t.Errorf("%s: %v", c.Subject, err)
		}
	}
}
