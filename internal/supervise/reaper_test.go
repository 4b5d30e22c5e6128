package supervise

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// reap makes this test the process that orphans fall to, as process 1 is.
func reap(t *testing.T) *Reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("orphans cannot be caught here: %v", err)
	}
	r := NewReaper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func await(t *testing.T, end <-chan unix.WaitStatus) unix.WaitStatus {
	t.Helper()
	select {
	case s := <-end:
		return s
	case <-time.After(time.Minute):
		t.Fatal("its end was never told")
		return 0
	}
}

func TestEveryChildIsToldItsOwnEnd(t *testing.T) {
	r := reap(t)
	ends := make(map[int]<-chan unix.WaitStatus)
	for code := range 20 {
		_, end, err := r.Start([]string{"/bin/sh", "-c", fmt.Sprint("exit ", code)}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		ends[code] = end
	}
	for code, end := range ends {
		if got := await(t, end).ExitStatus(); got != code {
			t.Errorf("got code %d, want %d", got, code)
		}
	}
}

func TestSignalIsTold(t *testing.T) {
	pid, end, err := reap(t).Start([]string{"/bin/sleep", "100"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := await(t, end); !s.Signaled() || s.Signal() != unix.SIGKILL {
		t.Errorf("got %v, want SIGKILL", s)
	}
}

func TestOrphanIsAdoptedAliveOrDead(t *testing.T) {
	r := reap(t)
	for _, dead := range []bool{true, false} {
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		const script = "(sleep 0.2; exit 5) & echo $!"
		_, end, err := r.Start([]string{"/bin/sh", "-c", script}, &os.ProcAttr{Files: []*os.File{nil, in, nil}})
		if err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		await(t, end)
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		if dead {
			time.Sleep(600 * time.Millisecond) // and buried
		}
		orphan, err := r.Adopt(pid)
		if err != nil {
			t.Fatal(err)
		}
		if got := await(t, orphan).ExitStatus(); got != 5 {
			t.Errorf("dead %v: got code %d, want 5", dead, got)
		}
	}
}

func TestNobodyIsAdoptedWhoNeverLived(t *testing.T) {
	if _, err := reap(t).Adopt(1 << 22); err == nil {
		t.Error("no error")
	}
}
