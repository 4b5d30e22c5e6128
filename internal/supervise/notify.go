package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// A notifier is the socket of sd_notify(3), one for each service.
type notifier struct {
	path      string
	messages  chan message
	conn      *net.UnixConn
	done      chan struct{}
	listening sync.WaitGroup
}

// A message is one datagram and who sent it.
type message struct {
	pid  int
	text string
}

// maxMessage is more than any service says at once.
const maxMessage = 8 << 10

func listen(path string) (*notifier, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	_ = os.Remove(path) // of a process 1 before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	// Whatever user the service has, it may write here.
	err = errors.Join(os.Chmod(path, 0o777), passCredentials(conn))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	n := &notifier{path: path, messages: make(chan message), conn: conn, done: make(chan struct{})}
	n.listening.Go(n.read)
	return n, nil
}

func passCredentials(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	return errors.Join(err, set)
}

func (n *notifier) read() {
	text, beside := make([]byte, maxMessage), make([]byte, 1024)
	for {
		length, size, _, _, err := n.conn.ReadMsgUnix(text, beside)
		if err != nil {
			return
		}
		m := message{sender(beside[:size]), string(text[:length])}
		select {
		case n.messages <- m:
		case <-n.done:
			return
		}
	}
}

// sender finds the process that the kernel names, and closes what was sent
// beside the words: a barrier's file is told so that all was read.
func sender(beside []byte) (pid int) {
	list, err := unix.ParseSocketControlMessage(beside)
	if err != nil {
		return 0
	}
	for _, m := range list {
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			pid = int(c.Pid)
		}
		if files, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range files {
				_ = unix.Close(fd)
			}
		}
	}
	return pid
}

func (n *notifier) close() {
	close(n.done)
	_ = n.conn.Close()
	n.listening.Wait()
	_ = os.Remove(n.path)
}
