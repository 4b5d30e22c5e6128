package swtpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
)

// maxResponse bounds a TPM's answer; TPM2_PT_MAX_RESPONSE_SIZE is 4096 in
// every TPM of the PC Client profile.
const maxResponse = 4096

// A TPM is a running TPM that this process talks to.
type TPM struct {
	run  *run
	mu   sync.Mutex // guards one command and its answer on conn
	conn net.Conn
}

var _ transport.TPMCloser = (*TPM)(nil)

// Open runs the TPM kept in dir, started up cleared, without a machine around
// it, until ctx ends or Close is called.
func Open(ctx context.Context, dir string) (*TPM, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err := errors.Join(err, ours.Close()); err != nil {
		return nil, err
	}
	// Descriptor 3 is theirs; swtpm ends when ours is closed.
	r, err := start(ctx, dir, theirs, "--fd", "3", "--flags", "startup-clear")
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &TPM{run: r, conn: conn}, nil
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "tpm"), os.NewFile(uintptr(fds[1]), "swtpm"), nil
}

// Send gives the TPM one command and returns its answer.
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.conn.Write(command); err != nil {
		return nil, t.explain(err)
	}
	answer := make([]byte, 10, maxResponse) // tag, size, code: TPM 2.0 Part 1, 18
	if _, err := io.ReadFull(t.conn, answer); err != nil {
		return nil, t.explain(err)
	}
	size := binary.BigEndian.Uint32(answer[2:])
	if size < 10 || size > maxResponse {
		return nil, fmt.Errorf("software TPM: answer of %d bytes, expected 10 to %d", size, maxResponse)
	}
	answer = answer[:size]
	_, err := io.ReadFull(t.conn, answer[10:])
	return answer, t.explain(err)
}

func (t *TPM) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-t.run.ended:
		return t.run.failure()
	case <-time.After(stopTime + time.Second): // the connection may break before the process is gone
		return fmt.Errorf("software TPM: %w", err)
	}
}

// Close ends the TPM and waits for it. It may be called twice.
func (t *TPM) Close() error {
	err := t.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	t.run.stop()
	return err
}
