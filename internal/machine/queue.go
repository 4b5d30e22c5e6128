package machine

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"
)

// What a queue holds, in parts that a pipe takes whole (pipe(7), PIPE_BUF).
const (
	queuePart = 4096
	queueLen  = 64 // parts: 256 KiB
)

// queueTime is how long nothing of a full queue may be taken before it takes no more.
const queueTime = 5 * time.Second

// dropped is the last that is written of output that was not all taken in time.
const dropped = "\nholdfast: what came then was dropped, since nobody read it in time\n"

var errStuck = errors.New("nobody reads it")

// A queue writes on behalf of others, who wait for its writer only as long as that
// goes on reading.
type queue struct {
	to       io.WriteCloser
	patience time.Duration
	parts    chan []byte
	done     chan struct{} // closed when all was written, or cannot be
	lost     bool          // set before parts is closed
}

func newQueue(to io.WriteCloser, patience time.Duration) *queue {
	return &queue{to: to, patience: patience, parts: make(chan []byte, queueLen), done: make(chan struct{})}
}

// run writes until all is written, and closes the writer.
func (q *queue) run() {
	defer close(q.done)
	defer q.to.Close()
	for part := range q.parts {
		if _, err := q.to.Write(part); err != nil {
			return
		}
	}
	if q.lost {
		_, _ = io.WriteString(q.to, dropped)
	}
}

// Write takes b for the writer. An error means that it takes no more: its user closes it.
func (q *queue) Write(b []byte) (n int, err error) {
	for part := range slices.Chunk(b, queuePart) {
		if err := q.take(bytes.Clone(part)); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

func (q *queue) take(part []byte) error {
	const slices = 5 // one of them is lost when this process stood still, not its reader
	for range slices {
		late := time.NewTimer(q.patience / slices)
		select {
		case q.parts <- part:
			late.Stop()
			return nil
		case <-q.done:
			late.Stop()
			return io.ErrClosedPipe
		case <-late.C:
		}
	}
	q.lost = true
	return errStuck
}

// Close says that no more will come. What was taken is written still.
func (q *queue) Close() error {
	close(q.parts)
	return nil
}

// cut ends the writer once the machine is over and it does not go on.
func (q *queue) cut(over <-chan struct{}) {
	select {
	case <-q.done:
		return
	case <-over:
	}
	select {
	case <-q.done:
	case <-time.After(q.patience):
		_ = q.to.Close()
	}
}
