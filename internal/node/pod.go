package node

import (
	"context"
	"io"
	"os"
	"slices"
	"sync"

	"holdfast/internal/api"
)

// A PodHost is the host as whoever runs a pod sees it.
type PodHost struct {
	Calls <-chan api.PodCall
	Tell  func(event string, detail any)
	// Open gives the standard streams of the i-th container. Of those that are
	// not named, input is at its end and output goes nowhere.
	Open func(i int, named []string) ([3]*os.File, error)
}

// pod runs a pod, and returns when the host has all output.
func (m *machine) pod(ctx context.Context, port *os.File) (api.ExitDetail, error) {
	s := newPodStreams(port)
	exit, err := m.Workload(ctx, Job{
		Config: m.guest, Document: m.document, Stage: m.Stage,
		Started:   func() { m.control.send(api.EventStarted, nil) },
		Processes: m.processes, Stop: m.control.stop, Grace: m.control.stopGrace, Resolver: resolverFile, Link: m.link,
		Pod: PodHost{Calls: m.control.calls, Tell: m.control.send, Open: s.open},
	})
	waitFor(&s.output, patience)
	if s.out != nil {
		_ = s.out.write(api.StreamEnd, nil)
	}
	return exit, err
}

// podStreams carry the streams of a pod's containers over one port.
type podStreams struct {
	out    *frames // nil: there is no port
	output sync.WaitGroup

	mu     sync.Mutex
	inputs map[byte]*os.File // by stream; guarded by mu
}

func newPodStreams(port *os.File) *podStreams {
	s := &podStreams{inputs: map[byte]*os.File{}}
	if port != nil {
		s.out = &frames{w: port}
		go s.feed(patient{port, hostPause}) // lives as long as the port
	}
	return s
}

// open makes the pipes of a container that begins.
func (s *podStreams) open(i int, named []string) (theirs [3]*os.File, err error) {
	first := api.FirstStream(i)
	logs, input := slices.Contains(named, api.StreamLogs), slices.Contains(named, api.StreamInput)
	if theirs[0], err = s.input(first, input); err != nil {
		return theirs, err
	}
	for n := byte(1); n < 3; n++ {
		if theirs[n], err = s.outputOf(first+n, logs); err != nil {
			closeFiles(theirs[:n])
			return theirs, err
		}
	}
	return theirs, nil
}

func (s *podStreams) input(stream byte, allowed bool) (*os.File, error) {
	if !allowed || s.out == nil {
		return os.Open(os.DevNull)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.closeInput(stream)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputs[stream] = w
	return r, nil
}

func (s *podStreams) outputOf(stream byte, allowed bool) (*os.File, error) {
	if !allowed || s.out == nil {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.output.Go(func() { s.out.copy(stream, r); _ = r.Close() })
	return w, nil
}

// feed carries the host's input to containers until the port ends, or the host
// breaks the framing. What is for nobody is dropped.
func (s *podStreams) feed(port io.Reader) {
	buffer := make([]byte, api.MaxFrame)
	for {
		stream, payload, err := readFrame(port, buffer)
		if err != nil {
			return
		}
		s.mu.Lock()
		to := s.inputs[stream]
		s.mu.Unlock()
		if to == nil {
			continue
		}
		if len(payload) > 0 {
			_, err = to.Write(payload)
		}
		if len(payload) == 0 || err != nil {
			s.closeInput(stream)
		}
	}
}

func (s *podStreams) closeInput(stream byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.inputs[stream]; f != nil {
		_ = f.Close()
		delete(s.inputs, stream)
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
