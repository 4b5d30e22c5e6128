package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"testing"
	"time"

	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/makers"
)

// made is a verifier that trusts the makers of TPMs, at a time.
func made(t *testing.T, at time.Time) *Verifier {
	t.Helper()
	inter, err := makers.Intermediates()
	if err != nil {
		t.Fatal(err)
	}
	return verifier(t, Config{Roots: makers.Roots(), Intermediates: inter, Clock: func() time.Time { return at }})
}

// stm is the certificate of a TPM by STMicroelectronics.
func stm(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("../makers/testdata/" + name + ".der")
	if err != nil {
		t.Fatal(err)
	}
	der, err := tpm.Certificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificatesOfRealTPMsAreEndorsed(t *testing.T) {
	for _, name := range []string{"stm-rsa", "stm-ecc"} {
		der := stm(t, name)
		_, device, err := made(t, time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)).endorsed(sha256.Sum256(der), der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if device["manufacturer"] != "id:53544D20" || device["model"] != "ST33HTPHAHB4" {
			t.Errorf("%s: device is %v", name, device)
		}
		for _, at := range []time.Time{time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} {
			if _, _, err := made(t, at).endorsed(sha256.Sum256(der), der); !errors.Is(err, attest.ErrExpired) {
				t.Errorf("%s in %d: got %v, want %v", name, at.Year(), err, attest.ErrExpired)
			}
		}
	}
}

// Who has the maker's root alone can follow the certificates above a TPM's,
// also where the operator trusts one on the way.
func TestTheWayToAMakersRootIsTold(t *testing.T) {
	inter, err := makers.Intermediates()
	if err != nil {
		t.Fatal(err)
	}
	trusted := makers.Roots()
	for _, c := range inter {
		trusted = append(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	at := time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)
	on := verifier(t, Config{Roots: trusted, Clock: func() time.Time { return at }})
	der := stm(t, "stm-rsa")
	for _, v := range []*Verifier{made(t, at), on} {
		above, err := v.Above(der)
		if err != nil {
			t.Fatal(err)
		}
		alone := Config{Roots: makers.Roots(), Clock: v.clock}
		if _, err := verifier(t, alone).Above(der); !errors.Is(err, attest.ErrEndorsement) {
			t.Fatalf("without what was told: got %v, want %v", err, attest.ErrEndorsement)
		}
		for _, raw := range above {
			c, err := x509.ParseCertificate(raw)
			if err != nil {
				t.Fatal(err)
			}
			alone.Intermediates = append(alone.Intermediates, c)
		}
		if _, _, err := verifier(t, alone).endorsed(sha256.Sum256(der), der); err != nil {
			t.Errorf("with the root and %d certificates: %v", len(above), err)
		}
	}
}

func verifier(t *testing.T, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
