package verify

import (
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
	v, err := New(Config{Roots: makers.Roots(), Intermediates: inter, Clock: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCertificatesOfRealTPMsAreEndorsed(t *testing.T) {
	for _, name := range []string{"stm-rsa", "stm-ecc"} {
		raw, err := os.ReadFile("../makers/testdata/" + name + ".der")
		if err != nil {
			t.Fatal(err)
		}
		der, err := tpm.Certificate(raw)
		if err != nil {
			t.Fatal(err)
		}
		_, device, err := made(t, time.Date(2026, 5, 5, 0, 0, 0, 0, time.UTC)).endorsed(der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if device["manufacturer"] != "id:53544D20" || device["model"] != "ST33HTPHAHB4" {
			t.Errorf("%s: device is %v", name, device)
		}
		for _, at := range []time.Time{time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} {
			if _, _, err := made(t, at).endorsed(der); !errors.Is(err, attest.ErrExpired) {
				t.Errorf("%s in %d: got %v, want %v", name, at.Year(), err, attest.ErrExpired)
			}
		}
	}
}
