package chain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A caller calls bin/holdfast as a person does.
type caller struct {
	t     *testing.T
	state string
}

func (c caller) call(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(root, "bin", "holdfast"), args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+c.state)
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

// good wants exit code 0 and gives standard output.
func (c caller) good(args ...string) string {
	c.t.Helper()
	code, out, problems := c.call(args...)
	if code != 0 {
		c.t.Fatalf("holdfast %v: exit code %d: %s", args, code, problems)
	}
	return out
}

// A runRecord is what ps says of a run.
type runRecord struct {
	Name, State   string
	Reason        string
	CPUs          int
	ExitCode      *int `json:"exit_code"`
	Published     []string
	PID           int
	Configuration string
}

func (c caller) record(name string) runRecord {
	c.t.Helper()
	var list struct{ Runs []runRecord }
	if err := json.Unmarshal([]byte(c.good("ps", "--all", "--json")), &list); err != nil {
		c.t.Fatal(err)
	}
	for _, r := range list.Runs {
		if r.Name == name {
			return r
		}
	}
	c.t.Fatalf("ps does not list %s: %+v", name, list.Runs)
	return runRecord{}
}

// redisSays asks Redis at a published port, which may not listen yet: a machine
// that is emulated on processors that others want, too, boots for a minute.
func redisSays(t *testing.T, published, ask string) string {
	t.Helper()
	address, _, _ := strings.Cut(published, "->")
	for deadline := time.Now().Add(4 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = fmt.Fprintf(conn, "%s\r\n", ask)
		buf := make([]byte, 4096)
		n, _ := conn.Read(buf)
		_ = conn.Close()
		if n > 0 {
			return string(buf[:n])
		}
	}
	t.Fatalf("nobody answers at %s", address)
	return ""
}

// One machine: detached, with memory of its own, a root that is read only, and
// a user of its own; listed, read, stopped.
func TestADetachedRunIsListedReadAndStopped(t *testing.T) {
	b := needs(t)
	c := caller{t, b.builder.Installation.Dir()}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("nobody-prints-this"), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "life-stopped"
	_, _, _ = c.call("rm", "--force", name)
	told := c.good("run", "--detach", "--json", "--name", name, "--guest", b.guest.Dir, "--publish", "6379", "--cpus", "2",
		"--secret", "token=@"+secret, "--tmpfs", "/data:size=8m,mode=0777", "--read-only", "--user", "12:34", "--workdir", "/data",
		"--hostname", "db-1", "--entrypoint", "redis-server", "oci:"+b.redis, "--", "--save", "", "--protected-mode", "no",
		"--enable-debug-command", "yes", "--enable-protected-configs", "yes")
	defer c.call("rm", "--force", name)
	var start struct{ Name, Digest, Log string }
	if err := json.Unmarshal([]byte(told), &start); err != nil || start.Name != name || !strings.HasPrefix(start.Digest, "sha256:") {
		t.Fatalf("got %s and %v, want one object that names the run", told, err)
	}
	r := c.record(name)
	if r.State != "running" || r.PID == 0 || r.CPUs != 2 || len(r.Published) != 1 || r.Configuration == "" {
		t.Fatalf("got %+v", r)
	}
	for what, file := range map[string]string{"arguments": "cmdline", "environment": "environ"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.PID, file))
		if err != nil || bytes.Contains(raw, []byte("nobody-prints")) {
			t.Errorf("%s: the secret is in them, or %v", what, err)
		}
	}
	if code, _, problems := c.call("run", "--detach", "--name", name, "--guest", b.guest.Dir, "oci:"+b.redis); code != 125 ||
		!strings.Contains(problems, "a run named "+name+" is under way") {
		t.Errorf("a second of that name: got %d: %s", code, problems)
	}
	if code, _, _ := c.call("rm", name); code != 1 {
		t.Errorf("rm of a running one: got %d, want 1", code)
	}
	if got := redisSays(t, r.Published[0], "CONFIG GET dir"); !strings.Contains(got, "/data") {
		t.Errorf("got %q, want the working directory", got)
	}
	if got := redisSays(t, r.Published[0], "SAVE"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("tmpfs: got %q, want the data saved", got)
	}
	if got := redisSays(t, r.Published[0], "CONFIG SET dir /etc"); !strings.HasPrefix(got, "+OK") {
		t.Errorf("got %q", got)
	}
	if got := redisSays(t, r.Published[0], "SAVE"); !strings.HasPrefix(got, "-ERR") {
		t.Errorf("read-only root: got %q, want the save refused", got)
	}
	if out := c.good("stop", name); !strings.Contains(out, "exited 0") {
		t.Errorf("got %q, want Redis's own end", out)
	}
	if out := c.good("stop", name); !strings.Contains(out, "exited 0") {
		t.Errorf("stopped twice: got %q", out)
	}
	if out := c.good("logs", name); !strings.Contains(out, "Ready to accept connections") || !strings.Contains(out, "bye bye") {
		t.Errorf("got log %q", out)
	}
	wantTakenBack(t, b, name, r.Configuration)
	c.good("rm", name)
	if _, err := os.Stat(b.builder.Installation.Machine(name)); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
}

// The process of a run is killed: nobody can clean up but who comes after.
func TestAKilledRunLeavesNeitherMachineNorAuthorisation(t *testing.T) {
	b := needs(t)
	c := caller{t, b.builder.Installation.Dir()}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("nobody-prints-this"), 0o600); err != nil {
		t.Fatal(err)
	}
	const name = "life-killed"
	_, _, _ = c.call("rm", "--force", name)
	c.good("run", "-q", "--detach", "--name", name, "--guest", b.guest.Dir, "--secret", "token=@"+secret,
		"--entrypoint", "redis-server", "oci:"+b.redis, "--", "--save", "")
	defer c.call("rm", "--force", name)
	r := c.record(name)
	children, err := exec.Command("pgrep", "-P", fmt.Sprint(r.PID)).Output()
	if err != nil || len(strings.Fields(string(children))) != 2 {
		t.Fatalf("got children %q and %v, want QEMU and swtpm", children, err)
	}
	process, err := os.FindProcess(r.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(children)) {
		for deadline := time.Now().Add(20 * time.Second); isAlive(pid); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %s of the machine lives on", pid)
			}
		}
	}
	if got := c.record(name).State; got != "dead" {
		t.Errorf("got %s, want dead", got)
	}
	wantTakenBack(t, b, name, r.Configuration)
}

// isAlive says whether a process runs; a zombie does not.
func isAlive(pid string) bool {
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(raw), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}

// wantTakenBack wants that the broker has nothing of the run any more.
func wantTakenBack(t *testing.T, b *bench, name, configuration string) {
	t.Helper()
	broker, err := b.builder.Installation.Admin(b.ring)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := broker.Resources(t.Context())
	if err != nil || strings.Contains(strings.Join(resources, " "), name+"/") {
		t.Errorf("the broker has %v, %v", resources, err)
	}
	allowed, err := broker.Configurations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range allowed {
		if a.Digest == configuration {
			t.Errorf("configuration %s is still authorised", configuration)
		}
	}
}

func TestARunAsJSONIsOneObjectAndCleanLines(t *testing.T) {
	b := needs(t)
	c := caller{t, b.builder.Installation.Dir()}
	code, out, lines := c.call("run", "--json", "--guest", b.guest.Dir, "--entrypoint", "redis-server", "oci:"+b.redis, "--", "--version")
	var report struct {
		ExitCode *int `json:"exit_code"`
		Measured []any
	}
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil || report.ExitCode == nil || *report.ExitCode != 0 || len(report.Measured) == 0 {
		t.Errorf("got %d, %v and standard output %s", code, err, out)
	}
	said := ""
	for line := range strings.Lines(lines) {
		var event struct{ Event, Stream, Text string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("standard error has the line %q: %v", line, err)
		}
		if event.Event == "output" && event.Stream == "stdout" {
			said += event.Text
		}
	}
	if !strings.HasPrefix(said, "Redis server v=") {
		t.Errorf("got output %q", said)
	}
}
