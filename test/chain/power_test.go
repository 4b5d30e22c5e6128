package chain

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/test/port"
)

// A stroke is kill -9 of some of the processes of a run, and what is then to
// be said of it.
type stroke struct {
	name  string
	kills func(run int, children []int) []int
	state string // that ps shows
	says  string // why
}

var strokes = []stroke{
	{"the machine", func(_ int, children []int) []int { return only(children, "qemu-system") }, "failed", "the machine's process ended: signal: killed"},
	{"the machine and its TPM", func(_ int, children []int) []int { return children }, "failed", "the machine's process ended: signal: killed"},
	{"the run", func(run int, _ []int) []int { return []int{run} }, "dead", "its process vanished"},
}

// only keeps the processes of a program.
func only(pids []int, program string) (list []int) {
	for _, pid := range pids {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && strings.HasPrefix(filepath.Base(exe), program) {
			list = append(list, pid)
		}
	}
	return list
}

// An outage is a run that strokes fall on.
type outage struct {
	caller
	b      *bench
	name   string
	secret string
	port   string
	words  []string
}

func newOutage(t *testing.T, b *bench, name string) *outage {
	t.Helper()
	o := &outage{caller: caller{t, b.builder.Installation.Dir()}, b: b, name: name, secret: fmt.Sprintf("nobody-prints-%016x", rand.Uint64())}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(o.secret), 0o600); err != nil {
		t.Fatal(err)
	}
	o.port = strconv.Itoa(port.Free(t))
	o.words = []string{"run", "-q", "--name", name, "--guest", b.guest.Dir, "--secret", "token=@" + file, "--publish", o.port + ":6379",
		"--entrypoint", "redis-server", "oci:" + b.encrypted(t, b.redis), "--", "--save", "", "--protected-mode", "no"}
	_, _, _ = o.call("rm", "--force", name)
	return o
}

// begun is a process of holdfast that has not ended.
type begun struct {
	cmd  *exec.Cmd
	says bytes.Buffer // read when it has ended
	end  chan error
}

func (c caller) begin(args ...string) *begun {
	c.t.Helper()
	p := &begun{cmd: exec.Command(filepath.Join(root, "bin", "holdfast"), args...), end: make(chan error, 1)}
	p.cmd.Stderr = &p.says
	p.cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+c.state)
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() { p.end <- p.cmd.Wait() }()
	return p
}

// await wants p to end, and gives its exit code: -1 when it was killed.
func (p *begun) await(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case err := <-p.end:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
	case <-time.After(within):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		t.Fatalf("has not ended after %v: %v\n%s", within, <-p.end, p.says.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// machine waits for the processes of the run's machine: QEMU and its TPM.
func (p *begun) machine(t *testing.T) []int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, _ := exec.Command("pgrep", "-P", strconv.Itoa(p.cmd.Process.Pid)).Output()
		var pids []int
		for _, word := range strings.Fields(string(text)) {
			pid, _ := strconv.Atoi(word)
			pids = append(pids, pid)
		}
		if len(only(pids, "qemu-system")) == 1 && len(only(pids, "swtpm")) == 1 {
			return pids
		}
	}
	t.Fatalf("no machine was started\n%s", p.says.String())
	return nil
}

// strike lets a stroke fall after a while of the machine's life, and wants
// that nothing is left.
func (o *outage) strike(s stroke, after time.Duration) {
	o.t.Helper()
	p := o.begin(o.words...)
	children := p.machine(o.t)
	time.Sleep(after)
	r := o.record(o.name)
	tpm := o.tpmFolder()
	for _, pid := range s.kills(p.cmd.Process.Pid, children) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			o.t.Fatal(err)
		}
	}
	code := p.await(o.t, 30*time.Second)
	where := fmt.Sprintf("%s killed after %v", s.name, after)
	if s.state == "failed" && (code != 125 || !strings.Contains(p.says.String(), "holdfast: run: "+s.says+"\n")) {
		o.t.Errorf("%s: got exit code %d and %q, want 125 and %q", where, code, p.says.String(), s.says)
	}
	if got := o.record(o.name); got.State != s.state || got.Reason != s.says || got.PID != 0 {
		o.t.Errorf("%s: ps says %+v, want %s: %s", where, got, s.state, s.says)
	}
	o.nothingLeft(where, r, tpm)
}

// tpmFolder is where the run's TPM has its socket.
func (o *outage) tpmFolder() string {
	raw, err := os.ReadFile(filepath.Join(o.b.builder.Installation.Machine(o.name), "run.json"))
	_, rest, ok := strings.Cut(string(raw), `"tpm": "`)
	if err != nil || !ok {
		o.t.Fatalf("the record of the run names no TPM: %s, %v", raw, err)
	}
	path, _, _ := strings.Cut(rest, `"`)
	return path
}

func (o *outage) nothingLeft(where string, r runRecord, tpm string) {
	o.t.Helper()
	folder := o.b.builder.Installation.Machine(o.name)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		pids := processesOf(folder + "/")
		if len(pids) == 0 {
			break
		}
		if time.Now().After(deadline) {
			o.t.Fatalf("%s: processes %v live on", where, pids)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+o.port)
	if err != nil {
		o.t.Errorf("%s: the published port is taken still: %v", where, err)
	} else {
		_ = l.Close()
	}
	if _, err := os.Stat(tpm); !errors.Is(err, fs.ErrNotExist) {
		o.t.Errorf("%s: %s is left: %v", where, tpm, err)
	}
	wantTakenBack(o.t, o.b, o.name, r.Configuration)
	o.onlyLogs(where, folder)
	o.noSecret(where)
}

// processesOf are those that have a path below folder among their words.
func processesOf(folder string) (list []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, []byte(folder)) {
			list = append(list, filepath.Base(filepath.Dir(path)))
		}
	}
	return list
}

// onlyLogs wants nothing of a run but what a person may want to read.
func (o *outage) onlyLogs(where, folder string) {
	o.t.Helper()
	fine := map[string]bool{"run.json": true, "report.json": true, "machine": true, "machine/console.log": true, "machine/qemu.log": true}
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(folder, path)
		if err == nil && name != "." && !fine[name] {
			o.t.Errorf("%s: %s is left", where, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.t.Error(err)
	}
}

// noSecret looks for the secret where anything of a run could be. Another process
// does: this one has the broker's database open, and would let go of its locks.
func (o *outage) noSecret(where string) {
	o.t.Helper()
	words := []string{"--recursive", "--files-with-matches", "--no-messages", "--fixed-strings", "--regexp", o.secret}
	for _, dir := range []string{"machines", "reports", "broker", "registry", "tpm-ca", "firmware"} {
		words = append(words, filepath.Join(o.state, dir))
	}
	if found, _ := exec.Command("grep", words...).Output(); len(found) > 0 {
		o.t.Errorf("%s: the secret is in %s", where, found)
	}
}

// works wants the same run to work now, and gives how long its machine took.
func (o *outage) works() time.Duration {
	o.t.Helper()
	p := o.begin(o.words...)
	p.machine(o.t)
	began := time.Now()
	if got := redisSays(o.t, "127.0.0.1:"+o.port, "PING"); !strings.HasPrefix(got, "+PONG") {
		o.t.Errorf("got %q, want Redis's answer", got)
	}
	took := time.Since(began)
	o.good("stop", o.name)
	if code := p.await(o.t, 30*time.Second); code != 0 {
		o.t.Errorf("got exit code %d: %s", code, p.says.String())
	}
	return took
}

// The power of a machine is cut, and the process of its run is killed, at any
// moment of its life: nothing is left of it, and the same run works.
func TestAPowerCutLeavesNothingAndTheSameRunWorks(t *testing.T) {
	b := needs(t)
	t.Parallel()
	o := newOutage(t, b, "power-cut")
	defer o.call("rm", "--force", o.name)
	n := seed(t)
	t.Logf("HOLDFAST_SEED=%d makes the same again", n)
	r := rand.New(rand.NewPCG(n, 0))
	cuts, within := 2, 8*time.Second
	if soak() {
		cuts, within = 24, o.works()+3*time.Second
	}
	first := r.IntN(len(strokes))
	for i := range cuts {
		s := strokes[(first+i)%len(strokes)]
		after := time.Duration(r.Float64() * float64(within))
		t.Logf("%s, after %v", s.name, after)
		o.strike(s, after)
	}
	o.works()
}
