package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"holdfast/internal/api"
)

// Stdio is the host's end of the workload's standard streams. Nothing is held
// back for a caller that does not Copy: the workload waits, as in a pipe.
type Stdio struct {
	conn   net.Conn
	copied chan struct{} // closed when Copy has all there is
	once   sync.Once

	mu sync.Mutex // one frame at a time
}

func newStdio(conn net.Conn) *Stdio { return &Stdio{conn: conn, copied: make(chan struct{})} }

const (
	frameHeader = 5
	maxFrame    = api.MaxFrame
)

// Copy writes the workload's output until it closed both streams or the
// machine ended. A machine that breaks the framing ends it with an error.
func (s *Stdio) Copy(stdout, stderr io.Writer) error {
	defer s.hasAll()
	open := map[byte]io.Writer{api.StreamStdout: stdout, api.StreamStderr: stderr}
	buf := make([]byte, api.MaxFrame)
	for len(open) > 0 {
		stream, data, err := readFrame(s.conn, buf)
		if err != nil {
			_ = s.conn.Close()
			return notGone(err)
		}
		w, ok := open[stream]
		if !ok {
			return fmt.Errorf("standard streams: frame for stream %d, which is not open", stream)
		}
		if len(data) == 0 {
			delete(open, stream)
			continue
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// hasAll says that no more output is to be waited for.
func (s *Stdio) hasAll() { s.once.Do(func() { close(s.copied) }) }

// readFrame reads one frame into buf. At a clean end it returns io.EOF.
func readFrame(r io.Reader, buf []byte) (stream byte, data []byte, err error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(header[1:])
	if size > uint32(len(buf)) {
		return 0, nil, fmt.Errorf("standard streams: frame of %d bytes: want at most %d", size, len(buf))
	}
	_, err = io.ReadFull(r, buf[:size])
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return header[0], buf[:size], err
}

// Write sends input to the workload. It blocks while the workload reads none.
func (s *Stdio) Write(p []byte) (int, error) { return (&podInput{s, api.StreamStdin}).Write(p) }

// CloseInput tells the workload that its input has ended.
func (s *Stdio) CloseInput() error { return s.frame(api.StreamStdin, nil) }

func (s *Stdio) frame(stream byte, p []byte) error {
	frame := append(header(stream, len(p)), p...)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(frame)
	return err
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
