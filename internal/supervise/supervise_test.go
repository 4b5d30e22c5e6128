package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is the launcher when it is called so, as holdfast-node is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "launch" {
		fmt.Fprintln(os.Stderr, Launch(os.Args[2:]))
		os.Exit(203)
	}
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		probe()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A bench is a supervisor with real processes, and what they wrote.
type bench struct {
	*Supervisor
	t    *testing.T
	stop context.CancelFunc
	done chan error

	mu    sync.Mutex
	lines []string // under mu
}

func supervise(t *testing.T, goal string, services ...Service) *bench {
	t.Helper()
	return superviseIn(t, "", goal, services...)
}

func superviseIn(t *testing.T, cgroup, goal string, services ...Service) *bench {
	t.Helper()
	b := &bench{t: t, done: make(chan error, 1)}
	c := Config{Services: services, Cgroup: cgroup, Processes: reap(t), Dir: runDir(t), Launcher: []string{os.Args[0], "launch"}}
	c.Sink = func(service, line string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lines = append(b.lines, service+": "+line)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.Supervisor = s
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	go func() { b.done <- s.Run(ctx, goal) }()
	t.Cleanup(b.end)
	return b
}

// runDir is outside /tmp, as a machine's is, where that may be.
func runDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/run", "holdfast-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (b *bench) end() {
	b.stop()
	select {
	case err := <-b.done:
		if err != nil {
			b.t.Error(err)
		}
		b.done <- nil
	case <-time.After(20 * time.Second):
		b.t.Fatalf("it does not end: %+v", b.Statuses())
	}
}

func (b *bench) status(name string) Status {
	for _, s := range b.Statuses() {
		if s.Name == name {
			return s
		}
	}
	b.t.Fatalf("no status of %s", name)
	return Status{}
}

// reaches waits until a service is in a state.
func (b *bench) reaches(name, state string) Status {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.await(ctx, func() bool { return b.units[name].status.State == state }); err != nil {
		b.t.Fatalf("%s is not %s: %+v", name, state, b.status(name))
	}
	return b.status(name)
}

func (b *bench) wrote() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func (b *bench) says(line string) {
	b.t.Helper()
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		if slices.Contains(b.wrote(), line) {
			return
		}
	}
	b.t.Fatalf("got %q, want %q", b.wrote(), line)
}

func sh(script string) []Command {
	return []Command{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Verbatim: true}}
}

const forever = "exec sleep 1000"

func TestServicesStartInOrderAndStopInReverse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "said") // lines of several services come as their pipes are read
	up := func(name string, after ...string) Service {
		say := func(what string) []Command { return sh("echo " + name + ": " + what + " >> " + file) }
		return Service{Name: name, After: after, Start: sh(forever), StartPre: say("up"), StopPost: say("down")}
	}
	b := supervise(t, "all", up("c", "b"), up("a"), up("b", "a"), Service{Name: "all", Kind: Target, Wants: []string{"a", "b", "c"}, After: []string{"c"}})
	b.reaches("all", Active)
	b.end()
	want := "a: up\nb: up\nc: up\nc: down\nb: down\na: down\n"
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestWhatIsRequiredAndFailsKeepsItsDependentsDown(t *testing.T) {
	b := supervise(t, "c",
		Service{Name: "a", Kind: Oneshot, Start: sh("exit 3")},
		Service{Name: "b", Kind: Oneshot, Requires: []string{"a"}, After: []string{"a"}, Start: sh("echo ran")},
		Service{Name: "c", Kind: Oneshot, Wants: []string{"a", "b"}, After: []string{"a", "b"}, Start: sh("echo ran"), RemainAfter: true})
	b.reaches("c", Active)
	if s := b.status("a"); s.State != Failed || s.Result != resultExitCode || s.Exit.Code != 3 {
		t.Errorf("got %+v, want it failed with code 3", s)
	}
	if s := b.status("b"); s.State != Failed || s.Result != resultDependency || !strings.Contains(s.Reason, "a is failed") {
		t.Errorf("got %+v, want it failed by its dependency", s)
	}
	b.end()
	if got := b.wrote(); !slices.Equal(got, []string{"c: ran"}) {
		t.Errorf("got %q, want c alone", got)
	}
}

func TestAServiceIsRestartedUntilItsLimit(t *testing.T) {
	b := supervise(t, "a", Service{Name: "a", Start: sh("echo turn; exit 1"), Restart: "on-failure",
		RestartDelay: time.Millisecond, StartLimit: 3, StartInterval: time.Minute})
	s := b.reaches("a", Failed)
	b.end()
	if s.Result != resultLimit || s.Restarts != 3 || len(b.wrote()) != 3 {
		t.Errorf("got %+v and %q, want 3 starts and the limit", s, b.wrote())
	}
}

func TestEachRestartRuleIsThatOfTheManual(t *testing.T) {
	clean, code, signal := outcome{exit: &Exit{}}, outcome{result: resultExitCode}, outcome{result: resultSignal}
	late := outcome{result: resultTimeout}
	for rule, want := range map[string][4]bool{ // systemd.service(5), table 1
		"no": {}, "": {}, "always": {true, true, true, true}, "on-success": {true, false, false, false},
		"on-failure": {false, true, true, true}, "on-abnormal": {false, false, true, true}, "on-abort": {false, false, true, false},
	} {
		u := &unit{Service: Service{Restart: rule}}
		for i, o := range []outcome{clean, code, signal, late} {
			if got := u.restartsAfter(o); got != want[i] {
				t.Errorf("%s after %q: got %v, want %v", rule, o.result, got, want[i])
			}
		}
	}
}

func TestRestartsComeSlowerAndSlower(t *testing.T) {
	u := &unit{Service: Service{RestartDelay: time.Second, RestartSteps: 4, MaxDelay: 16 * time.Second}}
	for restarts, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 16, 90: 16} {
		if got := u.delay(restarts).Round(time.Millisecond); got != want*time.Second {
			t.Errorf("restart %d: got %v, want %v", restarts, got, want*time.Second)
		}
	}
}

// notifying is a service of a shell that speaks sd_notify by this test's program.
func TestANotifyServiceIsUpWhenItSaysSo(t *testing.T) {
	if _, err := os.Stat("/usr/bin/systemd-notify"); err != nil {
		t.Skip("systemd-notify is missing: make test installs it")
	}
	file := filepath.Join(t.TempDir(), "ready")
	b := supervise(t, "b",
		Service{Name: "a", Kind: Notify, NotifyAccess: "all", StartTimeout: 10 * time.Second,
			Start: sh("sleep 0.3; touch " + file + "; systemd-notify --ready --status=at-work; " + forever)},
		Service{Name: "b", Requires: []string{"a"}, After: []string{"a"}, Start: sh("test -e " + file + " && echo after || echo before; " + forever)})
	b.reaches("b", Active)
	b.says("b: after")
	if s := b.status("a"); s.State != Active || s.Text != "at-work" || s.PID == 0 {
		t.Errorf("got %+v, want it active and at-work", s)
	}
}

func TestANotifyServiceThatStaysSilentFails(t *testing.T) {
	b := supervise(t, "a", Service{Name: "a", Kind: Notify, StartTimeout: 200 * time.Millisecond, Start: sh(forever)})
	if s := b.reaches("a", Failed); s.Result != resultTimeout {
		t.Errorf("got %+v, want a timeout", s)
	}
}

func TestNothingOfAServiceIsLeft(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pids")
	b := supervise(t, "a", Service{Name: "a", StopTimeout: 300 * time.Millisecond,
		Start: sh("trap '' TERM; sleep 1000 & echo $! > " + file + "; echo $$ >> " + file + "; echo up; while :; do sleep 1; done")})
	b.says("a: up")
	b.end()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(string(raw)) {
		var pid int
		if _, err := fmt.Sscan(word, &pid); err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	}
	if s := b.status("a"); s.State != Failed || s.Result != resultTimeout {
		t.Errorf("got %+v, want a timeout", s)
	}
}

// gone wants a process dead and soon buried.
func gone(t *testing.T, pid int) {
	t.Helper()
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return
		}
		if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(raw), ") Z ") {
			t.Errorf("process %d is still there: %s", pid, raw)
			return
		}
	}
	t.Errorf("process %d was never buried", pid)
}

func TestAStopTakesThoseThatNeedIt(t *testing.T) {
	b := supervise(t, "c", Service{Name: "a", Start: sh(forever)},
		Service{Name: "b", BindsTo: []string{"a"}, After: []string{"a"}, Start: sh(forever)},
		Service{Name: "c", Requires: []string{"b"}, After: []string{"b"}, Start: sh(forever)},
		Service{Name: "d", Start: sh(forever)})
	b.reaches("c", Active)
	if err := b.Start("d"); err != nil {
		t.Fatal(err)
	}
	b.reaches("d", Active)
	if err := unix.Kill(b.status("a").PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.reaches("b", Inactive)
	if s := b.status("d"); s.State != Active {
		t.Errorf("got %+v, want d untouched", s)
	}
}

func TestARestartTakesItsPartsAlong(t *testing.T) {
	b := supervise(t, "b", Service{Name: "a", Start: sh("echo up; " + forever)},
		Service{Name: "b", PartOf: []string{"a"}, Wants: []string{"a"}, After: []string{"a"}, Start: sh("echo up; " + forever)})
	b.says("b: up")
	before := b.status("b").PID
	if err := b.Reload("a"); err != nil { // it has no commands for that
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := b.await(ctx, func() bool { s := b.units["b"].status; return s.State == Active && s.PID != before && s.PID != 0 })
	if err != nil {
		t.Errorf("got %+v, want another process of b", b.Statuses())
	}
}

func TestAServiceReloadsByItsCommandsAndLivesOn(t *testing.T) {
	// Under nohup(1) services would ignore it, and a shell does not take back what it
	// was started with.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	b := supervise(t, "a", Service{Name: "a", Start: sh("trap 'echo again' HUP; echo up; while :; do sleep 0.1; done"), Reload: []Command{
		{Path: "/bin/sh", Args: []string{"sh", "-c", "kill -HUP ${MAINPID}"}}, {Path: "/bin/false", Args: []string{"false"}}}},
		Service{Name: "b"})
	b.says("a: up")
	b.reaches("a", Active) // the process may say so before
	before := b.status("a").PID
	if err := b.Reload("a"); err != nil {
		t.Fatal(err)
	}
	b.says("a: again")
	if err := b.Reload("b"); err != nil {
		t.Errorf("one that is not up: got %v, want it left alone", err)
	}
	if err := b.Reload("c"); err == nil {
		t.Error("one that nobody knows is reloaded")
	}
	if s := b.status("a"); s.State != Active || s.PID != before {
		t.Errorf("got %+v, want the process as it was, though its last command failed", s)
	}
}

func TestTheEnvironmentIsWhatTheManualSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# no\nTWO='two two'\nTHREE=a\\\n b  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true,
		Process: Process{Env: []string{"ONE=one 'o ne'", "TWO=2"}, EnvFiles: []EnvFile{{Path: file}, {Path: "/absent", Optional: true}}},
		Start:   []Command{{Path: "printf", Args: []string{"printf", "<%s>", "$ONE", "${ONE}", "$TWO", "${TWO}x", "$$TWO", "${NONE}", "$NONE", "${THREE}", "\n"}}}})
	b.reaches("a", Active)
	b.says("a: <one><o ne><one 'o ne'><two><two><two twox><$TWO><><a b><")
}

func TestLimitsAndUsersAreSet(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may become another user: run this as root")
	}
	score, mask := 500, 0o077
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true,
		Process: Process{User: "nobody", UMask: &mask, OOMScore: &score, NoNewPrivs: true, Limits: []Limit{{Resource: syscall.RLIMIT_NOFILE, Soft: 77, Hard: 99}}},
		Start:   sh("echo $(id -un) $(umask) $(ulimit -Sn) $(ulimit -Hn) $(cat /proc/self/oom_score_adj) $(grep NoNewPrivs /proc/self/status) $USER")})
	b.reaches("a", Active)
	b.says("a: nobody 0077 77 99 500 NoNewPrivs: 1 nobody")
}

func TestACgroupHoldsWhatLeavesItsSession(t *testing.T) {
	base := cgroupHere(t)
	b := superviseIn(t, base, "a", Service{Name: "a", Start: sh("setsid sh -c 'echo $$; echo up; exec sleep 1000' & " + forever)})
	b.says("a: up")
	b.reaches("a", Active) // the thread that started it has left the group
	if raw, err := os.ReadFile(filepath.Join(base, "a", "cgroup.procs")); err != nil || len(strings.Fields(string(raw))) != 2 {
		t.Errorf("got %q, %v, want two processes in the group", raw, err)
	}
	b.end()
	var pid int
	if _, err := fmt.Sscanf(b.wrote()[0], "a: %d", &pid); err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	if _, err := os.Stat(filepath.Join(base, "a")); err == nil {
		t.Error("the group is still there")
	}
}

func cgroupHere(t *testing.T) string {
	dir := FindCgroup(fmt.Sprintf("holdfast-test-%d", os.Getpid()))
	if dir == "" {
		t.Skip("no cgroup can be made here: run this as root")
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	return dir
}

func TestACycleIsNamed(t *testing.T) {
	_, err := New(Config{Services: []Service{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"c"}}, {Name: "c", After: []string{"a"}}, {Name: "d"}}})
	var cycle *CycleError
	if !errors.As(err, &cycle) || err.Error() != "the order has a cycle: c before b before a before c" {
		t.Errorf("got %v, want c before b before a before c", err)
	}
}

func TestAStatusTellsSecretsToNobody(t *testing.T) {
	b := supervise(t, "a", Service{Name: "a", Process: Process{Env: []string{"PASSWORD=CANARY"}}, Start: sh(forever)})
	b.reaches("a", Active)
	raw, err := json.Marshal(b.Statuses())
	if err != nil || strings.Contains(string(raw), "CANARY") {
		t.Errorf("got %s, %v", raw, err)
	}
}

// Statuses are how all services are now, in the order of the list.
func (s *Supervisor) Statuses() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, len(s.units))
	for _, u := range s.units {
		list[u.index] = u.status
	}
	return list
}
