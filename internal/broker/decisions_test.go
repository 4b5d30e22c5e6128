package broker

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"holdfast/internal/api"
)

func TestEachDecisionOfAPolicyIsRecorded(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	m := b.machine()
	m.auth()
	m.attest()
	m.fetch()
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/other", nil); status != http.StatusForbidden {
		t.Fatalf("got %d, want a denial", status)
	}
	bad := b.machine()
	bad.pcrs["pcr11"] = pcr("c")
	bad.auth()
	if status, _ := bad.call("POST", "/kbs/v0/attest", bad.attestation()); status != http.StatusUnauthorized {
		t.Fatalf("got %d, want a denial", status)
	}
	b.wantDecisions("attestation true", "resource true", "resource false", "attestation false")

	ring, prove := proving(t)
	b = newBench(t, prove)
	released(t, b, ring)
	b.wantDecisions("attestation true", "resource true")
}

// wantDecisions wants these kinds and answers, with what a policy can be asked
// again, and no secret.
func (b *bench) wantDecisions(want ...string) {
	b.t.Helper()
	n := 0
	check(b.t, b.admin.EachDecision(b.t.Context(), 0, func(d api.RecordedDecision) (bool, error) {
		answer := map[bool]string{true: " true", false: " false"}[d.Allow]
		if n >= len(want) || d.Kind+answer != want[n] {
			b.t.Errorf("decision %d: got %s%s, want %q", n, d.Kind, answer, want)
		}
		if d.Session == "" || len(d.Input) < 10 || len(d.Data) < 10 || d.Allow == (len(d.Reasons) > 0) {
			b.t.Errorf("got %+v", d)
		}
		if bytes.Contains(d.Input, []byte("the key")) || bytes.Contains(d.Data, []byte("the key")) {
			b.t.Errorf("decision %d holds the secret", n)
		}
		n++
		return true, nil
	}))
	if n != len(want) {
		b.t.Errorf("got %d decisions, want %q", n, want)
	}
}

func TestARollbackByAnotherProcessHoldsInASecondAndIsInTheHistory(t *testing.T) {
	b := newBench(t, nil)
	b.furnish()
	check(t, b.admin.Allow(t.Context(), initDataDigest, []string{"default/key/other"}))
	m := b.machine()
	m.auth()
	m.attest()
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusForbidden {
		t.Fatalf("got %d, want a denial", status)
	}
	other := openTestState(t, b.cfg.Dir, b.cfg.Now) // as another process has it
	made, err := other.Rollback(t.Context(), api.ConfigurationKind, "", 1, api.Version{Time: b.now.Now(), Actor: "other"}, acceptable)
	if err != nil || len(made) != 1 {
		t.Fatalf("got %v, %v", made, err)
	}
	time.Sleep(time.Second) // who asks then is answered by it, however long the answer takes
	if status, _ := m.call("GET", "/kbs/v0/resource/default/key/x", nil); status != http.StatusOK {
		t.Fatalf("got %d a second later", status)
	}
	list, err := b.admin.History(t.Context(), api.ConfigurationKind)
	if err != nil || len(list) != 3 || list[0].Actor != "other" || list[2].Actor != "tester" || list[0].Digest != list[2].Digest {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := b.admin.Rollback(t.Context(), api.Rollback{Kind: "secret", Version: 1}); err == nil {
		t.Error("a kind without versions was rolled back")
	}
	if e := b.lastEntry(); e.Action == "rollback" {
		t.Error("what was never tried is recorded as such")
	}
}
