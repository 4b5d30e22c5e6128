package qemu

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/machine"
)

// needQEMU gives the path of QEMU or skips the test.
func needQEMU(t testing.TB) string {
	t.Helper()
	path, err := findBinary("")
	if err != nil {
		t.Skipf("needs QEMU: %v", err)
	}
	return path
}

func TestBootSectorRunsUnderTCG(t *testing.T) {
	reason, err := runSector(t.Context(), needQEMU(t), machine.AccelTCG, 1000)
	if err != nil || reason != "" {
		t.Fatalf("got %q, %v; want a guest that reports", reason, err)
	}
}

func TestProbeAnswerIsRemembered(t *testing.T) {
	if _, err := os.Stat(kvmDevice); err != nil {
		t.Skipf("needs %s, whether it works or not", kvmDevice)
	}
	file := filepath.Join(t.TempDir(), "accel.json")
	q, err := New(Config{Binary: needQEMU(t), AccelFile: file})
	if err != nil {
		t.Fatal(err)
	}
	first, err := q.Accel(t.Context(), machine.AccelAuto)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("accelerator: %s; %+v", first, recall(file))
	ended, cancel := context.WithTimeout(t.Context(), probeLimit/4)
	defer cancel()
	again, err := q.Accel(ended, machine.AccelAuto)
	if err != nil || again != first {
		t.Fatalf("got %s, %v; want %s without another probe", again, err, first)
	}
}
