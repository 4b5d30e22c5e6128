package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// daemon leaves a process in a session of its own, as daemon(3) does; the file
// is written late.
const daemon = `setsid sh -c 'sleep 0.2; echo $$ > %[1]s.new; mv %[1]s.new %[1]s; exec sleep 1000' & exit 0`

func TestAForkingServicesMainProcessIsThatOfItsFile(t *testing.T) {
	base, file := cgroupHere(t), filepath.Join(t.TempDir(), "pid")
	b := superviseIn(t, base, "a", Service{Name: "a", Kind: Forking, PIDFile: file, Start: sh(fmt.Sprintf(daemon, file)), StopPost: sh("echo $SERVICE_RESULT")},
		Service{Name: "b", After: []string{"a"}, BindsTo: []string{"a"}, Start: sh(forever)})
	pid := b.reaches("a", Active).PID
	if raw, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(raw)) != strconv.Itoa(pid) {
		t.Fatalf("got process %d, want that of %q, %v", pid, raw, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if s := b.reaches("a", Failed); s.Result != resultSignal {
		t.Errorf("got %+v, want that it was killed", s)
	}
	b.says("a: signal")
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still there")
	}
}

func TestAForkingServiceStops(t *testing.T) {
	base := cgroupHere(t)
	b := superviseIn(t, base, "a", Service{Name: "a", Kind: Forking, Start: sh("setsid sleep 1000 & exit 0")})
	pid := b.reaches("a", Active).PID
	if raw, err := os.ReadFile(filepath.Join(base, "a", "cgroup.procs")); err != nil || string(raw) != fmt.Sprintln(pid) {
		t.Errorf("got process %d, want the one that was left: %q, %v", pid, raw, err)
	}
	b.end()
	gone(t, pid)
}

func TestAForkingServiceOfManyIsUpWhileOneIs(t *testing.T) {
	b := superviseIn(t, cgroupHere(t), "a", Service{Name: "a", Kind: Forking, Start: sh("setsid sleep 3 & setsid sleep 3 & exit 0")})
	if s := b.reaches("a", Active); s.PID != 0 {
		t.Errorf("got %+v, want no main process", s)
	}
	if s := b.reaches("a", Inactive); s.Result != resultSuccess {
		t.Errorf("got %+v", s)
	}
}

func TestAForkingServiceThatNamesNoProcessOfItsOwnFails(t *testing.T) {
	base, dir := cgroupHere(t), t.TempDir()
	foreign, never := filepath.Join(dir, "foreign"), filepath.Join(dir, "never")
	if err := os.WriteFile(foreign, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	b := superviseIn(t, base, "all",
		Service{Name: "foreign", Kind: Forking, PIDFile: foreign, StartTimeout: 300 * time.Millisecond, Start: sh("setsid sleep 1000 & exit 0")},
		Service{Name: "never", Kind: Forking, PIDFile: never, Start: sh("exit 0")},
		Service{Name: "fails", Kind: Forking, Start: sh("exit 3")},
		Service{Name: "all", Kind: Target, Wants: []string{"foreign", "never", "fails"}})
	for name, want := range map[string]string{"foreign": resultTimeout, "never": resultProtocol, "fails": resultExitCode} {
		if s := b.reaches(name, Failed); s.Result != want {
			t.Errorf("%s: got %+v, want %s", name, s, want)
		}
	}
}

// What a service makes of its file neither holds process 1 up nor is followed.
func TestAFileThatIsNoneNamesNoProcess(t *testing.T) {
	base, dir := cgroupHere(t), t.TempDir()
	var all []Service
	goal := Service{Name: "all", Kind: Target}
	for name, makes := range map[string]string{"fifo": "mkfifo %[1]s", "link": "setsid sh -c 'echo $$ >%[1]s.to; exec sleep 1000' & ln -s %[1]s.to %[1]s",
		"device": "mknod %[1]s c 1 5", "long": "setsid sh -c '(printf %%0100d; echo $$) >%[1]s; exec sleep 1000' & true"} {
		file := filepath.Join(dir, name)
		all = append(all, Service{Name: name, Kind: Forking, PIDFile: file, StartTimeout: 300 * time.Millisecond, Start: sh(fmt.Sprintf(makes, file) + "; setsid sleep 1000 & exit 0")})
		goal.Wants = append(goal.Wants, name)
	}
	b := superviseIn(t, base, "all", append(all, goal)...)
	for _, name := range goal.Wants {
		if s := b.reaches(name, Failed); s.Result != resultTimeout {
			t.Errorf("%s: got %+v, want that no process was named in time", name, s)
		}
	}
}

func TestWithoutControlGroupsNothingForks(t *testing.T) {
	b := supervise(t, "a", Service{Name: "a", Kind: Forking, Start: sh("exit 0")})
	if s := b.reaches("a", Failed); !strings.Contains(s.Reason, "control groups") {
		t.Errorf("got %+v", s)
	}
}

func TestWhatIsNotUpKeepsDownWhatWantsItUp(t *testing.T) {
	b := supervise(t, "all", Service{Name: "up", Start: sh(forever)},
		Service{Name: "behind", Requisite: []string{"up"}, After: []string{"up"}, Start: sh(forever)},
		Service{Name: "alone", Requisite: []string{"down"}, Start: sh("echo ran")}, Service{Name: "down", Start: sh(forever)},
		Service{Name: "all", Kind: Target, Wants: []string{"up", "behind", "alone"}, After: []string{"behind", "alone"}})
	b.reaches("all", Active)
	if behind, alone, down := b.status("behind"), b.status("alone"), b.status("down"); behind.State != Active || alone.Result != resultDependency || down.State != Inactive {
		t.Errorf("got %+v, %+v and %+v", behind, alone, down)
	}
}

func TestAReloadIsHandedOn(t *testing.T) {
	reloads := func(name string, from ...string) Service {
		return Service{Name: name, ReloadFrom: from, Start: sh("echo up; " + forever), Reload: sh("echo again")}
	}
	silent := Service{Name: "c", ReloadFrom: []string{"a"}, Start: sh("echo up; " + forever)}
	b := supervise(t, "all", reloads("a", "b"), reloads("b", "a"), silent, Service{Name: "all", Kind: Target, Wants: []string{"a", "b", "c"}})
	for _, name := range []string{"a", "b", "c"} {
		b.says(name + ": up")
		b.reaches(name, Active)
	}
	before := b.status("c").PID
	if err := b.Reload("a"); err != nil {
		t.Fatal(err)
	}
	b.says("a: again")
	b.says("b: again")
	if after := b.status("c").PID; after != before {
		t.Error("one without commands was restarted")
	}
}

func TestAServiceHasNoMoreProcessesThanItsLimit(t *testing.T) {
	dir := fmt.Sprintf("/sys/fs/cgroup/pids/holdfast-test-%d", os.Getpid())
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("no cgroup with a count of processes can be made here: run this as root:", err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	forks := sh("sleep 1000 & sleep 1000 & echo up; " + forever)
	b := superviseIn(t, dir, "all", Service{Name: "a", Tasks: "2", Start: forks}, Service{Name: "b", Tasks: "99%", Start: forks},
		Service{Name: "all", Kind: Target, Wants: []string{"a", "b"}})
	if s := b.reaches("a", Failed); s.Result != resultExitCode {
		t.Errorf("got %+v, want a shell that could not fork", s)
	}
	b.says("b: up")
}
