package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/egress"
)

const (
	containerID = "workload"
	cgroupRoot  = "/sys/fs/cgroup"
	fence       = "/holdfast" // the cgroup whose egress is ruled, below the root
)

// cgroup is the container's, which runc makes.
func (g *guest) cgroup() string { return fence + "/" + g.id }

// usualGrace is how long a workload may take to end when it is asked to.
const usualGrace = 10 * time.Second

func (c Config) grace() time.Duration {
	if c.Grace == nil || c.Grace() <= 0 {
		return usualGrace
	}
	return c.Grace()
}

// A workload runs.
type workload struct {
	pid  int
	end  <-chan unix.WaitStatus
	stop unix.Signal // that asks it to end
	dir  string      // of its cgroup
}

// tryRuntime starts runc once for nothing. Its pages come from the disk through
// verity and decompression, which takes longer than runc itself; so that
// happens while the image is on its way.
func (g *guest) tryRuntime(context.Context) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return &Refusal{"run", err}
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: "/", Files: []*os.File{null, null, null}}
	_, end, err := g.Processes.Start([]string{g.Runtime, "--version"}, attr)
	if err != nil {
		return &Refusal{"run", err}
	}
	if status := <-end; status != 0 {
		return &Refusal{"run", fmt.Errorf("%s --version ended with status %#x", g.Runtime, uint32(status))}
	}
	return nil
}

// fenceIn rules the egress of a cgroup above the container's. It is ours, so
// whatever runc does to its own, the rules hold.
func (g *guest) fenceIn() error {
	path := filepath.Join(cgroupRoot, fence)
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return egress.Attach(path, g.Egress)
}

// start lets runc start the container and leave: its first process becomes a
// child of process 1, which so learns how exactly it ended.
func (g *guest) start(b *bundle) (*workload, error) {
	return g.runc(b, "runc", g.Stdio, "run", "--detach", "--bundle", b.dir)
}

// runc lets it start a process whose id it leaves in a file, and go. Log and file have
// the name that is given.
func (g *guest) runc(b *bundle, name string, files [3]*os.File, words ...string) (*workload, error) {
	log, pidFile := b.path(name+".log"), b.path(name+".pid")
	argv := []string{g.Runtime, "--root", b.path("runc"), "--log", log, "--log-format", "json"}
	argv = append(append(argv, words...), "--pid-file", pidFile, g.id)
	_, end, err := g.Processes.Start(argv, &os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Files: files[:]})
	if err != nil {
		return nil, err
	}
	if status := <-end; status.ExitStatus() != 0 {
		return nil, fmt.Errorf("runc: %s", lastWords(log))
	}
	w := &workload{stop: stopSignal(g.image.config.Config.StopSignal), dir: filepath.Join(cgroupRoot, g.cgroup())}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	if w.pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(pidFile), err)
	}
	w.end, err = g.Processes.Adopt(w.pid)
	return w, err
}

// lastWords finds what runc complained of last.
func lastWords(log string) string {
	text, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	words := "it failed without a word"
	for line := range strings.Lines(string(text)) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "error" {
			words = entry.Msg
		}
	}
	return words
}

// stopSignal reads the image's STOPSIGNAL: a name or a number.
func stopSignal(s string) unix.Signal {
	if n := unix.SignalNum(s); n != 0 {
		return n
	}
	if n := unix.SignalNum("SIG" + s); n != 0 {
		return n
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n)
	}
	return unix.SIGTERM
}

// supervise passes signals on until the workload ends. Asked to stop, it asks
// the workload first and ends it after the grace period.
func (w *workload) supervise(c Config) api.ExitDetail {
	stop, kill := c.Stop, (<-chan time.Time)(nil)
	for {
		select {
		case status := <-w.end:
			return exitDetail(status, oomKilled(filepath.Join(w.dir, "memory.events")))
		case s := <-c.Signals:
			_ = unix.Kill(w.pid, s)
		case <-stop:
			stop, kill = nil, time.After(c.grace())
			_ = unix.Kill(w.pid, w.stop)
		case <-kill:
			_ = unix.Kill(w.pid, unix.SIGKILL)
		}
	}
}

// exitDetail has the code that a shell would show.
func exitDetail(s unix.WaitStatus, oom bool) api.ExitDetail {
	d := api.ExitDetail{Code: s.ExitStatus(), OOMKilled: oom}
	if s.Signaled() {
		d.Code = 128 + int(s.Signal())
		d.Signal = unix.SignalName(s.Signal())
	}
	return d
}

// oomKilled reads the cgroup's count of processes killed for want of memory
// (Linux, Documentation/admin-guide/cgroup-v2.rst, memory.events).
func oomKilled(path string) bool {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strings.TrimSpace(count) != "0"
		}
	}
	return false
}
