package swtpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// How long a TPM may take to listen, and to save its state when told to end.
const (
	startTime = time.Minute
	stopTime  = 3 * time.Second
)

// A Process is a running TPM for QEMU's emulator backend
// (-tpmdev emulator,chardev=…).
type Process struct {
	run    *run
	socket string
}

// Start runs the TPM kept in dir until ctx ends, Close is called or QEMU
// leaves it. The TPM starts up cleared when QEMU resets it.
func Start(ctx context.Context, dir string) (*Process, error) {
	p := &Process{}
	home, err := socketHome()
	if err != nil {
		return nil, err
	}
	p.socket = filepath.Join(home, "ctrl")
	p.run, err = start(ctx, dir, nil, "--ctrl", "type=unixio,path="+p.socket, "--terminate")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	if err := p.await(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// socketHome makes a folder with a short name: the address of a Unix socket
// has room for 107 bytes.
func socketHome() (string, error) {
	if len(os.TempDir()) > 80 {
		return os.MkdirTemp("/tmp", "swtpm-")
	}
	return os.MkdirTemp("", "swtpm-")
}

// ControlSocket is the absolute path of the socket that QEMU's chardev is to
// connect to.
func (p *Process) ControlSocket() string { return p.socket }

// Unlink removes the socket once its only peer is connected: a starter that is
// killed then leaves nothing.
func (p *Process) Unlink() error { return os.RemoveAll(filepath.Dir(p.socket)) }

// Close ends the TPM and waits for it. It may be called twice.
func (p *Process) Close() error {
	p.run.stop()
	return p.Unlink()
}

// await returns when the control socket takes connections.
func (p *Process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		conn, err := net.Dial("unix", p.socket)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.run.ended:
			return p.run.failure()
		case <-ctx.Done():
			return fmt.Errorf("start software TPM: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A run is one swtpm process. Err and out may be read once ended is closed.
type run struct {
	ended  chan struct{}
	err    error
	out    bytes.Buffer
	cancel context.CancelFunc
}

func start(ctx context.Context, dir string, file *os.File, args ...string) (*run, error) {
	dir, err := folder(dir)
	if err != nil {
		return nil, err
	}
	path, err := look("swtpm")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err != nil {
		return nil, fmt.Errorf("software TPM %s was not manufactured: %w", dir, err)
	}
	r := &run{ended: make(chan struct{})}
	ctx, r.cancel = context.WithCancel(ctx)
	args = append([]string{"socket", "--tpm2", "--tpmstate", "dir=" + dir}, args...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &r.out, &r.out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	return r, r.launch(cmd)
}

// launch starts cmd on a thread that lives as long as cmd does: the kernel
// sends Pdeathsig when the starting thread ends, not the process (prctl(2)).
func (r *run) launch(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(r.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		r.cancel()
		return fmt.Errorf("start software TPM: %w", err)
	}
	return nil
}

// failure says why the process ended by itself.
func (r *run) failure() error {
	return fmt.Errorf("software TPM ended: %v: %s", r.err, tail(r.out.Bytes()))
}

func (r *run) stop() {
	r.cancel()
	<-r.ended
}
