package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"holdfast/internal/wiring"
)

// The descriptors that the background process of a run inherits beside the
// usual three. Secrets come over a pipe: arguments, environment and files can
// be read by others, or outlive the run.
const (
	fdRequest = 3 // a detached; its end, before the workload runs, ends the run
	fdStarted = 4 // a started, once the workload runs
)

// detached is what the background process is asked to do.
type detached struct {
	Run              wiring.Run
	Sources          wiring.Sources
	CA               []byte // of registries
	JSON, Quiet, Log bool   // how the person who waits is spoken to
}

// started is what that person is told at last.
type started struct {
	Name      string   `json:"name"`
	Image     string   `json:"image"`
	Digest    string   `json:"digest"`
	Published []string `json:"published"`
	Log       string   `json:"log,omitempty"` // path of the journal
}

// detach starts this program once more, in a session of its own, and returns
// when that runs the workload. Until then it shows its progress and errors
// itself, on the standard error that both have.
func (a *app) detach(ctx context.Context, d detached) error {
	d.JSON, d.Quiet, d.Log = a.json, a.quiet, a.talk
	a.closeMeter()
	cmd, request, told, err := a.background(d.Run)
	if err != nil {
		return runError{err}
	}
	defer told.Close()
	defer request.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	var s started
	if err = json.NewEncoder(request).Encode(d); err == nil {
		err = json.NewDecoder(told).Decode(&s)
	}
	if err != nil {
		return backgroundEnd(cmd.Wait())
	}
	return a.answer(s, func(w io.Writer) { fmt.Fprintln(w, s.Name) })
}

// background starts the process with its pipes.
func (a *app) background(r wiring.Run) (cmd *exec.Cmd, request, told *os.File, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, nil, err
	}
	theirRequest, request, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, err
	}
	defer theirRequest.Close()
	told, theirTold, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, request.Close())
	}
	defer theirTold.Close()
	cmd = exec.Command(exe, "run-detached", r.Name, "--state", a.state)
	cmd.Args[0] = "holdfast"
	cmd.Stderr = a.Stderr
	if r.Image == "-" {
		cmd.Stdin = a.Stdin
	}
	cmd.ExtraFiles = []*os.File{theirRequest, theirTold}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What our own parent left open, a lock of flock(1) say, is not the run's.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err := cmd.Start(); err != nil {
		return nil, nil, nil, errors.Join(err, request.Close(), told.Close())
	}
	return cmd, request, told, nil
}

// backgroundEnd passes on how a background process ended that did not come to
// run its workload. It has told why.
func backgroundEnd(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitError(exit.ExitCode())
	}
	return runError{fmt.Errorf("its process ended before the workload ran: %w", err)}
}

// runDetached is that process; no person calls it.
func (a *app) runDetached() *cobra.Command {
	c := &cobra.Command{Use: "run-detached NAME", Hidden: true, Args: cobra.ExactArgs(1)}
	transport := a.transportFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		request, told := inherited(fdRequest), inherited(fdStarted)
		if request == nil || told == nil {
			return usageError{errors.New(`this verb is for "holdfast run --detach" alone`)}
		}
		var d detached
		if err := json.NewDecoder(request).Decode(&d); err != nil {
			return runError{fmt.Errorf("nobody said what to run: %w", err)}
		}
		a.json, a.quiet, a.talk = d.JSON, d.Quiet, d.Log
		r := d.Run
		var err error
		if r.Transport, err = transport(); err != nil {
			return err
		}
		r.Transport.CA = d.CA
		if r.Builder, err = a.builder(d.Sources); err != nil {
			return runError{err}
		}
		r.Builder.Node, r.Stdin, r.Stdout, r.Stderr = nodeProgram(), a.Stdin, io.Discard, io.Discard
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		var runs atomic.Bool
		go func() { // whoever waited went away
			_, _ = io.Copy(io.Discard, request)
			if !runs.Load() {
				cancel()
			}
		}()
		r.Started = func(now *wiring.Running) {
			a.ready(now)
			runs.Store(true)
			if err := a.letGo(r, now, told); err != nil {
				cancel()
			}
		}
		return a.run(ctx, r)
	}
	return c
}

// inherited is a pipe that our parent made for us. Our own children must not
// have it.
func inherited(fd int) *os.File {
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "inherited")
	if f == nil {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return nil
	}
	return f
}

// letGo tells the person who waits that the workload runs, and lets go of the
// terminal.
func (a *app) letGo(r wiring.Run, now *wiring.Running, told io.WriteCloser) error {
	a.closeMeter()
	s := started{Name: now.Name, Image: r.Image, Digest: now.Digest, Published: []string{}}
	if r.Journal {
		s.Log = r.Installation.Output(r.Name)
	}
	for _, p := range now.Ports {
		s.Published = append(s.Published, p.String())
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for fd := range 3 {
		if err := syscall.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	return errors.Join(json.NewEncoder(told).Encode(s), told.Close(), null.Close())
}
