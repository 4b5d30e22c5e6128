package qemu

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"holdfast/internal/machine"
)

// A process is one QEMU that dies with us.
type process struct {
	cmd    *exec.Cmd
	stderr *tail
	done   chan struct{}
	exited machine.Exited // set before done is closed
}

// spawn starts QEMU with the files as its descriptors from 3 on. It closes
// them in this process, whatever happens.
func spawn(binary string, args []string, files []*os.File) (*process, error) {
	defer closeAll(files)
	p := &process{cmd: exec.Command(binary, args...), stderr: &tail{}, done: make(chan struct{})}
	p.cmd.Env = []string{"LC_ALL=C"}
	p.cmd.ExtraFiles = files
	p.cmd.Stdout, p.cmd.Stderr = p.stderr, p.stderr
	// Its own group keeps the terminal's Ctrl-C from it: stopping is our part.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.live(started)
	return p, <-started
}

// live starts the process and reaps it. The kernel sends the parent-death
// signal when the *thread* that forked ends (prctl(2)), so this goroutine
// keeps its thread until the process is gone.
func (p *process) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	err = p.cmd.Wait()
	p.exited = machine.Exited{Code: p.cmd.ProcessState.ExitCode(), Status: p.cmd.ProcessState.String(), Stderr: p.stderr.String()}
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		p.exited.Status = err.Error()
	}
	close(p.done)
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

const maxTail = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > maxTail {
		t.buf = bytes.Clone(t.buf[len(t.buf)-maxTail:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// pair makes two connected stream sockets: ours, and the one QEMU inherits.
func pair(name string) (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	conn, err := net.FileConn(ours) // duplicates
	_ = ours.Close()
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		_ = c.Close()
	}
}
