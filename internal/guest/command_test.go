package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/supervise"
)

// A live pod has one container under runc, "app", with busybox as all of its root; what
// its processes write is kept by streams.
type live struct {
	*testing.T
	*pod
	inputs  map[byte]*os.File
	outputs map[byte]*bytes.Buffer
	drained map[byte]chan struct{} // closed at an output's end
	exits   chan api.ContainerExit
}

func newLive(t *testing.T, app api.Container) *live {
	t.Helper()
	needRoot(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Skip("needs runc: apt install runc")
	}
	if mounted, _ := os.ReadFile("/proc/self/mountinfo"); !bytes.Contains(mounted, []byte(" - cgroup")) {
		t.Skip("runc needs control groups, and none are mounted here, as in a chroot")
	}
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("needs busybox-static: apt install busybox-static")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Skipf("orphans cannot be caught here: %v", err)
	}
	reaper := supervise.NewReaper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { reaper.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })

	app.Name, app.Image = "app", oneImage
	l := &live{T: t, inputs: map[byte]*os.File{}, outputs: map[byte]*bytes.Buffer{}, drained: map[byte]chan struct{}{}, exits: make(chan api.ContainerExit, 8)}
	config := Config{Guest: api.GuestConfig{Pod: &api.Pod{Containers: []api.Container{app}}}, Processes: reaper, Dir: t.TempDir(), Runtime: runc}
	l.pod = &pod{
		PodConfig:  PodConfig{Config: config, Open: l.open, Tell: func(_ string, detail any) { l.exits <- detail.(api.ContainerExit) }},
		containers: map[string]*container{}, commands: map[uint64]*command{}, finished: map[string]bool{},
	}
	b := &bundle{dir: l.pod.dir("app")}
	l.check(os.MkdirAll(b.path("rootfs/bin"), 0o755))
	program, err := os.ReadFile(shell)
	l.check(err)
	l.check(os.WriteFile(b.path("rootfs/bin/busybox"), program, 0o755))
	g := &guest{Config: config, image: &image{}, id: fmt.Sprintf("hftest-%d", os.Getpid()), message: app.Message}
	limit := int64(64 << 20)
	s := spec{image: v1.ImageConfig{}, process: app.Process, memory: &specs.LinuxMemory{Limit: &limit}, cgroup: "/" + g.id}
	s.binds, err = g.lastWords(b, nil)
	l.check(err)
	built, err := s.build()
	l.check(err)
	built.Process.Rlimits = nil // a host may lack the capability for more than its own
	text, err := json.Marshal(built)
	l.check(err)
	l.check(os.WriteFile(b.path("config.json"), text, 0o600))
	c := &container{Container: app, state: created, guest: g, bundle: b, over: make(chan struct{})}
	l.pod.containers["app"] = c
	t.Cleanup(func() {
		_ = exec.Command(runc, "--root", b.path("runc"), "delete", "--force", g.id).Run()
		l.work.Wait()
	})
	return l
}

func (l *live) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// open gives streams as a machine's port has them.
func (l *live) open(first byte, named []string) (theirs [3]*os.File, end func(), err error) {
	var ours [3]*os.File
	for n := range theirs {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, nil, err
		}
		theirs[n], ours[n] = w, r
		if n == 0 {
			theirs[0], ours[0] = r, w
		}
	}
	l.inputs[first] = ours[0]
	for n, r := range ours[1:] {
		stream, b, done := first+1+byte(n), &bytes.Buffer{}, make(chan struct{})
		l.outputs[stream], l.drained[stream] = b, done
		go func() { defer close(done); _, _ = io.Copy(b, r) }()
	}
	return theirs, func() {
		for n, f := range ours {
			_ = f.Close()
			if n > 0 {
				<-l.drained[first+byte(n)]
			}
		}
	}, nil
}

func (l *live) ask(call string, params any, detail any) {
	l.Helper()
	raw, err := json.Marshal(params)
	l.check(err)
	got, err := l.do(l.Context(), api.PodCall{Name: call, Params: raw})
	if err != nil {
		l.Fatalf("%s: %v", call, err)
	}
	if detail != nil {
		raw, err := json.Marshal(got)
		l.check(err)
		l.check(json.Unmarshal(raw, detail))
	}
}

func (l *live) ends() api.ContainerExit {
	l.Helper()
	select {
	case e := <-l.exits:
		return e
	case <-time.After(2 * time.Minute):
		l.Fatal("no end was told")
		return api.ContainerExit{}
	}
}

// run runs a command to its end, with input, and returns how it ended and what it wrote.
func (l *live) run(q api.ExecParams, input string) (api.ContainerExit, string) {
	l.Helper()
	var d api.ExecDetail
	l.ask(api.CallExec, q, &d)
	name := api.ContainerParams{Container: "app", Exec: d.Exec}
	l.ask(api.CallStart, name, nil)
	if q.Terminal {
		l.ask(api.CallResize, api.ResizeParams{ContainerParams: name, Width: 101, Height: 37}, nil)
	}
	_, err := l.inputs[d.First].WriteString(input)
	l.check(err)
	if !q.Terminal {
		l.check(l.inputs[d.First].Close())
	}
	e := l.ends()
	<-l.drained[d.First+1]
	l.ask(api.CallDelete, name, nil)
	return e, l.outputs[d.First+1].String()
}

func shellOf(script string) api.Process {
	return api.Process{Entrypoint: []string{"/bin/busybox", "sh", "-c", script}, Hostname: "h"}
}

// Commands, a terminal, and last words, in a container that runs.
func TestCommandsRunInTheirContainer(t *testing.T) {
	asks := []string{"/bin/busybox", "sh", "-c", "read x; echo $OWN got $x; exit 4"}
	sized := []string{"/bin/busybox", "sh", "-c", "read x; /bin/busybox stty size; echo $TERM got $x"}
	both := []string{api.StreamLogs, api.StreamInput}
	app := api.Container{
		Process: shellOf("echo begun > /begun; trap 'echo bye > /dev/termination-log; exit 7' TERM; while :; do /bin/busybox sleep 0.1; done"),
		Message: "/dev/termination-log",
		Exec:    []api.Command{{Args: asks, Streams: both}, {Args: sized, Streams: both, Terminal: true}, {Args: []string{"/bin/busybox", "sleep", "100"}}},
	}
	app.Process.Env = []string{"OWN=mine"}
	l := newLive(t, app)
	l.ask(api.CallStart, api.ContainerParams{Container: "app"}, nil)
	for range 100 {
		if _, err := os.Stat(filepath.Join(l.pod.dir("app"), "rootfs/begun")); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for range 2 {
		e, out := l.run(api.ExecParams{Container: "app", Args: asks, Stdin: true}, "this\n")
		if e.Code != 4 || e.Exec == 0 || out != "mine got this\n" {
			t.Errorf("got %+v and %q, want code 4 and what it was told", e, out)
		}
	}
	e, out := l.run(api.ExecParams{Container: "app", Args: sized, Stdin: true, Terminal: true}, "that\r")
	if e.Code != 0 || !strings.Contains(out, "37 101\r\nxterm got that\r\n") {
		t.Errorf("on a terminal: got %+v and %q", e, out)
	}
	var d api.ExecDetail
	l.ask(api.CallExec, api.ExecParams{Container: "app", Args: []string{"/bin/busybox", "sleep", "100"}}, &d)
	sleeper := api.ContainerParams{Container: "app", Exec: d.Exec}
	l.ask(api.CallStart, sleeper, nil)
	l.ask(api.CallKill, api.KillParams{ContainerParams: sleeper, Signal: 9}, nil)
	if e := l.ends(); e.ContainerParams != sleeper || e.Code != 137 || e.Signal != "SIGKILL" {
		t.Errorf("killed: got %+v", e)
	}
	l.ask(api.CallDelete, sleeper, nil)
	l.ask(api.CallKill, api.KillParams{ContainerParams: api.ContainerParams{Container: "app"}, Signal: 15}, nil)
	if e := l.ends(); e.Exec != 0 || e.Code != 7 || e.Message != "bye\n" {
		t.Errorf("asked to end: got %+v, want code 7 and its last words", e)
	}
	if left, err := filepath.Glob(filepath.Join(l.pod.dir("app"), "exec-*")); err != nil || len(left) > 0 {
		t.Errorf("got %q left of commands, %v", left, err)
	}
}
