package tpm

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/seal"
	"holdfast/internal/swtpm"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A chip is a real software TPM that is switched on for each use.
func newChip(t *testing.T) Config {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skipf("needs software TPMs (%v): apt-get install swtpm swtpm-tools, then go test ./internal/seal/tpm", err)
	}
	dir := t.TempDir()
	check(t, swtpm.Manufacture(t.Context(), swtpm.Config{Dir: filepath.Join(dir, "tpm"), CADir: filepath.Join(dir, "ca")}))
	return Config{Open: func(ctx context.Context) (transport.TPMCloser, error) {
		chip, err := swtpm.Open(context.Background(), filepath.Join(dir, "tpm"))
		return chip, err
	}}
}

func open(t *testing.T, dir string, c Config) (*seal.Ring, *seal.Sealer) {
	t.Helper()
	ring, err := seal.OpenRing(t.Context(), seal.RingConfig{Dir: dir, Providers: map[string]seal.Provider{Kind: Masters(c)}})
	check(t, err)
	t.Cleanup(func() { check(t, ring.Close()) })
	return ring, seal.New(ring)
}

func TestAMasterOpensInItsOwnTPMOnly(t *testing.T) {
	ours, other := newChip(t), newChip(t)
	dir := filepath.Join(t.TempDir(), "master")
	ring, sealer := open(t, dir, ours)
	id, err := ring.Rotate(t.Context(), Kind, nil)
	check(t, err)
	sealed, err := sealer.Seal(t.Context(), "a", []byte("secret"))
	check(t, err)
	_, again := open(t, dir, ours)
	if plain, err := again.Open(t.Context(), "a", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("after a restart: got %q, %v", plain, err)
	}
	_, thief := open(t, dir, other)
	if _, err := thief.Open(t.Context(), "a", sealed); err == nil || !strings.Contains(err.Error(), "sealed in another TPM") || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("in another TPM: got %v", err)
	}
}

func TestAMasterMayDependOnWhatTheMachineBooted(t *testing.T) {
	chip := newChip(t)
	one, err := chip.Open(t.Context())
	check(t, err)
	t.Cleanup(func() { _ = one.Close() })
	running := Config{Open: func(context.Context) (transport.TPMCloser, error) { return kept{one}, nil }}
	dir := filepath.Join(t.TempDir(), "master")
	ring, sealer := open(t, dir, running)
	options, err := json.Marshal(Options{PCRs: []uint{7, 11}})
	check(t, err)
	_, err = ring.Rotate(t.Context(), Kind, options)
	check(t, err)
	sealed, err := sealer.Seal(t.Context(), "a", []byte("secret"))
	check(t, err)
	_, same := open(t, dir, running)
	if plain, err := same.Open(t.Context(), "a", sealed); err != nil || string(plain) != "secret" {
		t.Errorf("in the same state: got %q, %v", plain, err)
	}
	_, err = tpm2.PCREvent{PCRHandle: tpm2.AuthHandle{Handle: 11, Auth: tpm2.PasswordAuth(nil)}, EventData: tpm2.TPM2BEvent{Buffer: []byte("another image")}}.Execute(one)
	check(t, err)
	_, changed := open(t, dir, running)
	if _, err := changed.Open(t.Context(), "a", sealed); !errors.Is(err, ErrPCRs) {
		t.Errorf("in another state: got %v, want ErrPCRs", err)
	}
	if _, err := ring.Rotate(t.Context(), Kind, []byte(`{"pcrs":[24]}`)); err == nil || !strings.Contains(err.Error(), "PCR 24") {
		t.Errorf("PCR 24: got %v", err)
	}
}

// kept stays on when it is closed, so that its PCRs do.
type kept struct{ transport.TPM }

func (kept) Close() error { return nil }
