package state_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

func TestDecisionsAreBoundedByTheirBytesToo(t *testing.T) {
	const most, each = 1 << 20, 64 << 10
	dir := t.TempDir()
	one, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New(), KeepDecisionBytes: most})
	check(t, err)
	defer one.Close()
	other, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New(), KeepDecisionBytes: most})
	check(t, err)
	defer other.Close()
	random := make([]byte, each*3/4) // which takes no less room when it is squeezed
	_, _ = rand.Read(random)
	large, err := json.Marshal(random)
	check(t, err)
	const n = 60
	for i := range n {
		s := []*state.Store{one, other}[i%2]
		check(t, s.KeepDecision(t.Context(), &api.RecordedDecision{Session: "s", Action: fmt.Sprint(i), Input: large, Data: []byte("{}")}))
		_, err := s.Decisions(t.Context(), 0, 0) // writes what is late
		check(t, err)
	}
	all, err := one.Decisions(t.Context(), 0, n)
	check(t, err)
	if len(all) < most/each*3/4 || len(all) > most/each {
		t.Fatalf("%d decisions of %d bytes are kept, want about %d", len(all), each, most/each)
	}
	for i, d := range all {
		if want := fmt.Sprint(n - len(all) + i); d.Action != want {
			t.Errorf("decision %d is the one of %s, want %s: the oldest go first", i, d.Action, want)
		}
	}
}
