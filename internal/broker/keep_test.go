package broker

import (
	"context"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

func openTestState(t testing.TB, dir string, now func() time.Time) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A brokenState fails where it is told to.
type brokenState struct {
	State
	keepProof error
}

func (s *brokenState) KeepProof(ctx context.Context, id string, proof []byte, most int, d *api.RecordedDecision) error {
	if s.keepProof != nil {
		return s.keepProof
	}
	return s.State.KeepProof(ctx, id, proof, most, d)
}
