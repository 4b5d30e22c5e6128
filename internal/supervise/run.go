package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A run is one start of a service: its processes and what they hold.
type run struct {
	s      *Supervisor
	u      *unit
	id     identity
	group  group
	out    *outputs
	notify *notifier // nil: none is listened to
	tmp    []string  // folders that are removed behind it

	pid   int                    // of the main process, 0: none
	death <-chan unix.WaitStatus // of the main process
	dying outcome                // how it ended when it was asked to
}

func (s *Supervisor) newRun(u *unit) (r *run, err error) {
	r = &run{s: s, u: u}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if u.processless() {
		return r, nil
	}
	if r.id, err = u.Process.identify(); err != nil {
		return r, err
	}
	if err = u.Process.prepare(r.id); err != nil {
		return r, err
	}
	if r.out, err = newOutputs(u.Process, func(line string) { s.Sink(cmp.Or(u.Process.LogName, u.Name), line) }); err != nil {
		return r, err
	}
	if r.group, err = newGroup(s.Cgroup, u.Name); err != nil {
		return r, err
	}
	if u.Tasks != "" {
		if err = r.group.bound(u.Tasks); err != nil {
			return r, fmt.Errorf("limit of tasks: %w", err)
		}
	}
	if r.tmp, err = u.Process.Sandbox.private(u.Name); err != nil {
		return r, err
	}
	if u.NotifyAccess != "" && u.NotifyAccess != "none" {
		r.notify, err = listen(filepath.Join(s.Dir, strconv.Itoa(u.index)))
	}
	return r, err
}

func (r *run) close() {
	if r.notify != nil {
		r.notify.close()
	}
	if r.out != nil {
		r.out.close()
	}
	if r.group != nil {
		r.group.remove()
	}
	for _, dir := range r.tmp {
		_ = os.RemoveAll(dir) // what was mounted there is gone with its processes
	}
}

// launch starts a command.
func (r *run) launch(c Command, more ...string) (pid int, end <-chan unix.WaitStatus, err error) {
	env, err := r.environment(more)
	if err != nil {
		return 0, nil, err
	}
	path, err := find(c.Path)
	if err != nil {
		return 0, nil, err
	}
	argv := c.Args
	if !c.Verbatim {
		argv = expand(argv, env)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: r.dir(), Env: env, Files: []*os.File{null, r.out.stdout, r.out.stderr}, Sys: &syscall.SysProcAttr{Setsid: true}}
	credential := r.id.credential()
	if c.Privileged || c.Elevated {
		credential = nil
	}
	if r.u.Process.needsLauncher() {
		in, err := r.cell(c)
		if err != nil {
			return 0, nil, err
		}
		argv = r.u.Process.launcher(r.s.Launcher, path, argv, credential, in, c.Privileged)
		path = argv[0]
	} else {
		attr.Sys.Credential = credential
	}
	err = r.group.start(attr.Sys, func() (int, error) {
		var err error
		pid, end, err = r.s.Processes.StartAs(path, argv, attr)
		return pid, err
	})
	return pid, end, err
}

func (r *run) environment(more []string) ([]string, error) {
	env, err := r.u.Process.environment(r.id, r.s.Env)
	if r.notify != nil {
		env = append(env, "NOTIFY_SOCKET="+r.notify.path)
	}
	return append(env, more...), err
}

// cell is nil for a command that the sandbox does not hold.
func (r *run) cell(c Command) (*cell, error) {
	if c.Privileged || !r.u.Process.Sandbox.inUse() {
		return nil, nil
	}
	stage := filepath.Join(r.s.Dir, "stage")
	return &cell{r.u.Process.Sandbox, r.tmp, stage}, os.MkdirAll(stage, 0o755)
}

func (r *run) dir() string {
	p := r.u.Process
	dir := p.Dir
	switch dir {
	case "":
		return "/"
	case "~":
		dir = r.id.home
	}
	if _, err := os.Stat(dir); err != nil && p.DirOptional {
		return "/"
	}
	return dir
}

// command runs a command to its end.
func (r *run) command(ctx context.Context, c Command, limit time.Duration, more ...string) outcome {
	pid, end, err := r.launch(c, more...)
	if err != nil {
		return r.forgive(c, outcome{result: resultResources, reason: err.Error()})
	}
	ctx, cancel := within(ctx, limit)
	defer cancel()
	select {
	case status := <-end:
		return r.forgive(c, judge(c.Path, exitOf(status), Statuses{}, false))
	case <-ctx.Done():
	}
	r.giveUp(pid, end)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return r.forgive(c, outcome{result: resultTimeout, reason: fmt.Sprintf("%s took longer than %v", c.Path, limit)})
	}
	return outcome{}
}

// giveUp leaves a command to be ended with the service, or ends it at once when
// that has a main process.
func (r *run) giveUp(pid int, end <-chan unix.WaitStatus) {
	if r.death == nil {
		r.lead(pid, end)
		return
	}
	_ = unix.Kill(pid, unix.SIGKILL)
}

func (r *run) forgive(c Command, o outcome) outcome {
	if c.IgnoreFailure {
		return outcome{}
	}
	return o
}

// commands runs them one after another, to the first that fails.
func (r *run) commands(ctx context.Context, list []Command, limit time.Duration, more ...string) outcome {
	for _, c := range list {
		if o := r.command(ctx, c, limit, more...); !o.ok() || ctx.Err() != nil {
			return o
		}
	}
	return outcome{}
}

// within is a context with a limit; 0 is none.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// judge says what an exit means. A service may end by the signals that ask for
// its end (systemd.service(5), SuccessExitStatus=).
func judge(name string, e Exit, success Statuses, service bool) outcome {
	polite := e.Signal == unix.SIGHUP || e.Signal == unix.SIGINT || e.Signal == unix.SIGTERM || e.Signal == unix.SIGPIPE
	switch {
	case e == Exit{}, success.has(e), service && polite:
		return outcome{exit: &e}
	case e.Signal != 0 && e.Core:
		return outcome{result: resultCore, reason: fmt.Sprintf("%s dumped core by %s", name, unix.SignalName(e.Signal)), exit: &e}
	case e.Signal != 0:
		return outcome{result: resultSignal, reason: fmt.Sprintf("%s was ended by %s", name, unix.SignalName(e.Signal)), exit: &e}
	}
	return outcome{result: resultExitCode, reason: fmt.Sprintf("%s exited with code %d", name, e.Code), exit: &e}
}
