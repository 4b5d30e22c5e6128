package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast/internal/machine"
)

// wires are all connections to one QEMU: ours, and while it is being started
// the ends that it inherits.
type wires struct {
	console, control, stdio, monitor net.Conn
	theirs                           []*os.File // in the order of the fd constants
}

func newWires(ctx context.Context, tpm machine.TPM) (w *wires, err error) {
	w = &wires{}
	defer func() {
		if err != nil {
			w.close()
			closeAll(w.theirs)
		}
	}()
	for _, wire := range []struct {
		name string
		ours *net.Conn
	}{{"console", &w.console}, {"control", &w.control}, {"stdio", &w.stdio}, {"monitor", &w.monitor}} {
		conn, theirs, err := pair(wire.name)
		if err != nil {
			return nil, err
		}
		*wire.ours, w.theirs = conn, append(w.theirs, theirs)
	}
	if tpm == nil {
		return w, nil
	}
	file, err := dialTPM(ctx, tpm.ControlSocket())
	w.theirs = append(w.theirs, file)
	return w, err
}

// dialTPM connects to swtpm in QEMU's stead, so that a TPM that does not
// answer is told from a QEMU that does not start.
func dialTPM(ctx context.Context, path string) (*os.File, error) {
	if len(path) > 107 { // sockaddr_un(7)
		return nil, fmt.Errorf("TPM socket %s: path has %d bytes: want at most 107", path, len(path))
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to the TPM: %w", err)
	}
	defer conn.Close()
	return conn.(*net.UnixConn).File() // duplicates
}

// plug adds a copy of the tap to what QEMU inherits.
func (w *wires) plug(wire *machine.Wire) error {
	if wire == nil {
		return nil
	}
	fd, err := unix.FcntlInt(wire.Tap.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		w.close()
		closeAll(w.theirs)
		return fmt.Errorf("tap: %w", err)
	}
	w.theirs = append(w.theirs, os.NewFile(uintptr(fd), "tap"))
	return nil
}

func (w *wires) close() {
	for _, c := range []net.Conn{w.console, w.control, w.stdio, w.monitor} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// A backend is one QEMU as machine.Machine sees it.
type backend struct {
	*process
	*wires
	*holdings
	monitor *monitor
}

func (b *backend) Console() io.Reader { return b.console }
func (b *backend) Control() net.Conn  { return b.control }
func (b *backend) Stdio() net.Conn    { return b.stdio }
func (b *backend) Kill()              { b.kill() }

func (b *backend) PowerDown(ctx context.Context) error {
	_, err := b.monitor.execute(ctx, "system_powerdown", nil)
	return err
}

// Wait returns once QEMU is reaped. What the machine wrote before is still to
// be read from the connections.
func (b *backend) Wait() machine.Exited {
	<-b.done
	<-b.monitor.gone
	exited := b.exited
	exited.Reset = b.monitor.reset.Load()
	return exited
}

// Close frees all but the standard streams, which may not be read to their
// end yet.
func (b *backend) Close() error {
	closeAll([]net.Conn{b.console, b.control, b.wires.monitor})
	return errors.Join(b.saveLog(), b.holdings.Close())
}

// saveLog keeps QEMU's complaints for a person, if it had any.
func (b *backend) saveLog() error {
	if b.exited.Stderr == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(b.folder, LogFile), []byte(b.exited.Stderr), 0o600)
}
