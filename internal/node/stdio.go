package node

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"holdfast/internal/api"
)

const frameHeader = 5

// frames writes frames of several streams to one port.
type frames struct {
	mu sync.Mutex // held for a frame
	w  io.Writer
}

func (f *frames) write(stream byte, payload []byte) error {
	b := make([]byte, frameHeader, frameHeader+len(payload))
	b[0] = stream
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(append(b, payload...))
	return err
}

// copy carries r as a stream to its end, and closes the stream. After a port
// has failed it reads on, so that the workload does not hang on its output.
func (f *frames) copy(stream byte, r io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			_ = f.write(stream, buffer[:n])
		}
		if err != nil {
			_ = f.write(stream, nil)
			return
		}
	}
}

// readFrame reads one frame of the host's into buffer, which has room for
// api.MaxFrame bytes.
func readFrame(r io.Reader, buffer []byte) (stream byte, payload []byte, err error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > api.MaxFrame {
		return 0, nil, fmt.Errorf("frame of %d bytes: want at most %d", size, api.MaxFrame)
	}
	payload = buffer[:size]
	_, err = io.ReadFull(r, payload)
	return head[0], payload, err
}

// feed carries the host's input frames to the workload until the stream, the
// port or the workload's interest ends. Any other stream is an error: only
// input comes this way.
func feed(port io.Reader, stdin *os.File) error {
	defer stdin.Close()
	buffer := make([]byte, api.MaxFrame)
	for {
		stream, payload, err := readFrame(port, buffer)
		switch {
		case err != nil:
			return err
		case stream != api.StreamStdin:
			return fmt.Errorf("frame of stream %d: want %d", stream, api.StreamStdin)
		case len(payload) == 0:
			return nil
		}
		if _, err := stdin.Write(payload); err != nil {
			return nil
		}
	}
}
