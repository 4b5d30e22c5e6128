package disks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/internal/supervise"
)

// supervised runs programs as process 1 does.
func supervised(t *testing.T) Starter {
	t.Helper()
	r := supervise.NewReaper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r.Start
}

func TestASupervisedProgramGetsItsInputAndSecrets(t *testing.T) {
	run := supervised(t).Run
	out, err := run(t.Context(), Command{Name: "cat", Args: []string{"-", SecretPath(0), SecretPath(1)}, Input: []byte("in "), Secrets: [][]byte{[]byte("first "), []byte("second")}})
	if err != nil || string(out) != "in first second" {
		t.Errorf("got %q, %v", out, err)
	}
	if _, err := run(t.Context(), Command{Name: "sh", Args: []string{"-c", "echo why >&2; exit 3"}}); err == nil || !strings.Contains(err.Error(), "sh: exit status 3: why") {
		t.Errorf("got %v", err)
	}
	if _, err := run(t.Context(), Command{Name: "no-such-program"}); !errors.Is(err, ErrNoProgram) {
		t.Errorf("got %v", err)
	}
}

func TestASupervisedProgramEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := supervised(t).Run(ctx, Command{Name: "sleep", Args: []string{"60"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
