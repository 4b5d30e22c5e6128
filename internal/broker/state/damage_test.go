package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/broker/state"
	"holdfast/internal/seal/sealtest"
)

func TestADamagedFileIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New()})
	check(t, err)
	check(t, s.SetResource(t.Context(), "a/b/c", make([]byte, 100_000), false))
	check(t, s.Close())
	path := filepath.Join(dir, state.File)
	good, err := os.ReadFile(path)
	check(t, err)
	for name, bad := range map[string][]byte{
		"truncated": good[:len(good)/2], "to one page": good[:4096], "garbage": make([]byte, 5000), "text": []byte("name: [1]\n"),
	} {
		check(t, os.WriteFile(path, bad, 0o600))
		s, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New()})
		if !errors.Is(err, state.ErrDamaged) {
			t.Errorf("%s: got %v, want ErrDamaged", name, err)
		}
		t.Log(err)
		if err == nil {
			check(t, s.Close())
		}
		after, err := os.ReadFile(path)
		if err != nil || string(after) != string(bad) {
			t.Errorf("%s: the file was changed to %d bytes, %v", name, len(after), err)
		}
	}
}
