package wiring

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/machine"
)

// runFolder makes what a run leaves that was killed, with or without the log
// of a machine.
func runFolder(t *testing.T, i Installation, name string, booted bool) string {
	t.Helper()
	dir := i.Machine(name)
	files := []string{"registry/workload/index.json", "tpm/tpm2-00.permall", "machine/initdata"}
	if booted {
		files = append(files, "machine/"+machine.ConsoleLog)
	}
	for _, f := range files {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestWhatAKilledRunLeavesIsSweptByTheNext(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	alive := &session{Run: Run{Name: "alive", Builder: Builder{Installation: i}}, folder: i.Machine("alive")}
	release, err := alive.claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	runFolder(t, i, "alive", true)
	early, late := runFolder(t, i, "early", false), runFolder(t, i, "late", true)

	next := &session{Run: Run{Name: "next", Builder: Builder{Installation: i}}, folder: i.Machine("next")}
	releaseNext, err := next.claim(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		early:                                   false,
		filepath.Join(late, "tpm"):              false,
		filepath.Join(late, "registry"):         false,
		filepath.Join(late, "machine/initdata"): false, // the configuration may be private
		filepath.Join(late, machineFile, machine.ConsoleLog): true,
		filepath.Join(i.Machine("alive"), "tpm"):             true,
		next.folder:                                          true,
	} {
		if isThere(path) != want {
			t.Errorf("%s: is there: %v, want %v", path, !want, want)
		}
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if err := releaseNext(); err != nil {
		t.Error(err)
	}
	if locks, _ := filepath.Glob(i.Machine("*.lock")); len(locks) > 0 {
		t.Errorf("locks are left: %v", locks)
	}
}

func TestLogsOfOldRunsAreForgotten(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for n := range keptRuns + 5 {
		runFolder(t, i, fmt.Sprintf("run-%d", n), true)
	}
	if err := i.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(i.Machine("*")); len(left) != keptRuns {
		t.Errorf("got %d folders, want %d", len(left), keptRuns)
	}
}

func TestARunThatAnotherBuriesIsWaitedFor(t *testing.T) {
	i, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	folder := runFolder(t, i, "gone", false)
	rec := recorder{path: filepath.Join(folder, recordFile), record: Record{Name: "gone", State: Live, PID: gone.Process.Pid, Created: time.Now()}}
	if err := rec.write(); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockNow(folder)
	if err != nil {
		t.Fatal(err)
	}
	buried := make(chan error, 1)
	go func() {
		time.Sleep(300 * time.Millisecond)
		buried <- errors.Join(i.bury(t.Context(), folder), leave(folder, unlock))
	}()
	if list, err := i.Runs(t.Context()); err != nil || len(list) != 1 || list[0].State != Dead {
		t.Errorf("got %v, %v, want one run that is dead", list, err)
	}
	if err := <-buried; err != nil {
		t.Error(err)
	}
}
