package broker

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker/state"
)

// testSealer seals under one key for all tests, so that those of several
// processes can share a state.
type testSealer struct{ cipher.AEAD }

func newSealer() testSealer {
	block, err := aes.NewCipher(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return testSealer{aead}
}

func (s testSealer) Seal(_ context.Context, name string, plain []byte) ([]byte, error) {
	return s.AEAD.Seal(nil, nil, plain, []byte(name)), nil
}

func (s testSealer) Open(_ context.Context, name string, sealed []byte) ([]byte, error) {
	return s.AEAD.Open(nil, nil, sealed, []byte(name))
}

func openTestState(t testing.TB, dir string, now func() time.Time) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: newSealer(), Now: now})
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
