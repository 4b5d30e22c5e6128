package wiring

import (
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/attest/kbc"
	"holdfast/internal/broker"
)

func TestServedBrokerHoldsItsLimits(t *testing.T) {
	i, err := Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := i.Ring(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	once := BrokerLimits{Limits: broker.Limits{Source: broker.Rate{Every: time.Hour, Burst: 2}}, Sessions: 1}
	s, err := i.Serve(ring, ServeConfig{RegistryListen: "127.0.0.1:0", BrokerListen: "127.0.0.1:0", BrokerLimits: once, Evidence: EvidenceConfig{AcceptSample: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client, err := kbc.New(kbc.Config{URL: s.BrokerURL(), Attester: anybody{}, InitData: []byte(passportDocument)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{http.StatusUnauthorized, http.StatusTooManyRequests} { // nothing is authorised here
		var p *kbc.Problem
		if err := client.Attest(t.Context()); !errors.As(err, &p) || p.Status != want {
			t.Errorf("got %v, want %d", err, want)
		}
	}
}

func TestMoreSessionsMayTakeMoreMemory(t *testing.T) {
	for sessions, want := range map[int]int64{0: 512 << 20, 16384: 512 << 20, 1 << 20: 8<<30 + 256<<20} {
		if got := memoryLimit(sessions); got != want {
			t.Errorf("%d sessions: got %d bytes, want %d", sessions, got, want)
		}
	}
}
