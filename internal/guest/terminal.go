package guest

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A terminal is this side of a pseudo-terminal that runc made in a container.
type terminal struct {
	side   *os.File
	copies sync.WaitGroup
	stdin  *os.File
}

// patience is how long runc may take to hand over what it made.
const patience = 10 * time.Second

// onTerminal starts a process as runc does, on a terminal whose other side has the streams. They
// are this side's from then on.
func (g *guest) onTerminal(b *bundle, name string, files [3]*os.File, words ...string) (*workload, *terminal, error) {
	socket := b.path(name + ".sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	defer l.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	defer null.Close()
	w, err := g.runc(b, name, [3]*os.File{null, null, null}, append(words, "--console-socket", socket)...)
	if err != nil {
		closeFiles(files)
		return nil, nil, err
	}
	side, err := receive(l)
	if err != nil {
		closeFiles(files)
		_ = unix.Kill(w.pid, unix.SIGKILL)
		return nil, nil, err
	}
	return w, newTerminal(side, files), nil
}

// receive takes the file that runc sends (runc, docs/terminals.md, "detached").
func receive(l *net.UnixListener) (*os.File, error) {
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	name, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(name, rights)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("runc sent no terminal")
	}
	all, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, errors.New("runc sent no terminal")
	}
	unix.CloseOnExec(all[0])
	if err := unix.SetNonblock(all[0], true); err != nil { // so that closing it ends who reads
		return nil, errors.Join(err, unix.Close(all[0]))
	}
	return os.NewFile(uintptr(all[0]), "terminal"), nil
}

// newTerminal joins a terminal with streams. A terminal's output is all on one.
func newTerminal(side *os.File, files [3]*os.File) *terminal {
	t := &terminal{side: side, stdin: files[0]}
	_ = files[2].Close()
	t.copies.Go(func() { _, _ = io.Copy(files[1], side); _ = files[1].Close() })
	t.copies.Go(func() { _, _ = io.Copy(side, files[0]) })
	return t
}

// close ends it; whoever has the other side is hung up on.
func (t *terminal) close() {
	_ = t.stdin.Close()
	_ = t.side.Close()
	t.copies.Wait()
}

func (t *terminal) resize(width, height uint16) error {
	raw, err := t.side.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	return errors.Join(err, set)
}

// withTerm says which terminal it is, to who does not know better.
func withTerm(env []string) []string {
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		return env
	}
	return append(env, "TERM=xterm")
}
