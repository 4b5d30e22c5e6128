package broker

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/internal/attest"
)

func TestEachKindOfEvidenceNamesItsDevice(t *testing.T) {
	hidden := strings.Repeat("00", 64)
	for name, c := range map[string]struct {
		claims attest.Claims
		want   device
	}{
		"TPM":              {attest.Claims{"ek_certificate": "ab", "ak_public": "key"}, device{"ek_certificate ab", false}},
		"listed TPM key":   {attest.Claims{"ak_public": "key", "activated": false}, device{"ak_public key", false}},
		"SNP, also Azure":  {attest.Claims{"chip_id": "12", "tpm": map[string]any{"pcr00": "00"}}, device{"chip_id 12", true}},
		"hidden chip":      {attest.Claims{"chip_id": hidden}, device{}},
		"TDX, also Azure":  {attest.Claims{"platform_provider_id": "34"}, device{"platform_provider_id 34", true}},
		"nothing verified": {attest.Claims{"svn": "1"}, device{}},
	} {
		if got := deviceOf(c.claims); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestAChipThatComesTooOftenWaits(t *testing.T) {
	b, maker := snpBench(t)
	b.Broker.brakes = Limits{Device: Rate{time.Hour, 1}}.brakes()
	for range perProcessor {
		if status, body := b.machine().shakeSNP(maker, nil); status != http.StatusOK {
			t.Fatalf("attest: %d %s", status, body)
		}
	}
	status, body := b.machine().shakeSNP(maker, nil)
	wantProblem(t, status, body, http.StatusTooManyRequests, kindAttestation, "too many requests of one processor")
	if got := len(b.Broker.sessions.keys["chip_id "+hex.EncodeToString(maker.Chip[:])]); got != perProcessor {
		t.Errorf("the chip has %d sessions, want %d", got, perProcessor)
	}
}

// What a machine offers is not verified before its evidence, and for other
// kinds than TPMs never.
func TestAnOfferDoesNotSpendAnothersShare(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Limits = Limits{Device: Rate{time.Hour, 1}} })
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	again := b.machine()
	again.offer = []byte("another certificate")
	again.auth()
	status, body := again.call("POST", "/kbs/v0/attest", again.attestation())
	wantProblem(t, status, body, http.StatusTooManyRequests, kindAttestation, "too many requests of one device")
}
