package service

import (
	"context"
	"io"
	"sync"
	"syscall"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/fifo"
)

// streams are the named pipes that containerd reads a container's output from, and
// writes its input to.
type streams struct {
	stdout, stderr io.WriteCloser
	stdin          io.ReadCloser // nil: there is none
	work           sync.WaitGroup
}

// openStreams opens those that are asked for. Each is opened for both directions, so
// that a reader may come and go (containerd, when it is started again).
func openStreams(ctx context.Context, r *taskapi.CreateTaskRequest) (s *streams, err error) {
	s = &streams{stdout: nowhere{}, stderr: nowhere{}}
	for path, to := range map[string]*io.WriteCloser{r.Stdout: &s.stdout, r.Stderr: &s.stderr} {
		if path == "" {
			continue
		}
		pipe, err := fifo.OpenFifo(ctx, path, syscall.O_RDWR, 0)
		if err != nil {
			s.close()
			return nil, err
		}
		*to = pipe
	}
	if r.Stdin != "" {
		if s.stdin, err = fifo.OpenFifo(ctx, r.Stdin, syscall.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// feed carries input to the container until either ends.
func (s *streams) feed(w io.WriteCloser) {
	if s.stdin == nil {
		return
	}
	s.work.Go(func() {
		_, _ = io.Copy(w, s.stdin)
		_ = w.Close()
	})
}

// close lets all go.
func (s *streams) close() {
	s.hangUp()
	s.work.Wait()
}

// hangUp ends what reads and writes the pipes. It may be done more than once.
func (s *streams) hangUp() {
	if s.stdin != nil {
		_ = s.stdin.Close()
	}
	_ = s.stdout.Close()
	_ = s.stderr.Close()
}

// nowhere is output that nobody wants.
type nowhere struct{}

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }
