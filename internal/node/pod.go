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
	// Open gives standard streams, of which first is the input. Of those that are not
	// named, input is at its end and output goes nowhere. Who called it calls end before the
	// same streams are opened again: the host then has all that was read of them.
	Open func(first byte, named []string) (files [3]*os.File, end func(), err error)
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

// open makes the pipes of a container, or of a command in one. Each output ends for the
// host once, at once where it is not connected.
func (s *podStreams) open(first byte, named []string) (theirs [3]*os.File, end func(), err error) {
	if theirs[0], err = s.input(first, slices.Contains(named, api.StreamInput)); err != nil {
		return theirs, nil, err
	}
	var copies sync.WaitGroup
	var ours []*os.File
	for n := byte(1); n < 3; n++ {
		r, w, err := s.outputOf(slices.Contains(named, api.StreamLogs))
		if err != nil {
			closeFiles(append(ours, theirs[:n]...))
			return theirs, nil, err
		}
		theirs[n], ours = w, append(ours, r)
	}
	for n, r := range ours {
		copies.Add(1)
		s.output.Go(func() { defer copies.Done(); s.carry(first+1+byte(n), r) })
	}
	return theirs, func() { s.closeInput(first); closeFiles(ours); copies.Wait() }, nil
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

// outputOf makes what an output is written to; r is nil where nobody reads it.
func (s *podStreams) outputOf(allowed bool) (r, w *os.File, err error) {
	if allowed && s.out != nil {
		return os.Pipe()
	}
	w, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	return nil, w, err
}

// kept is what a host reads instead of output.
const kept = "holdfast: the measured configuration keeps this output in its machine\n"

func (s *podStreams) carry(stream byte, r *os.File) {
	switch {
	case s.out == nil:
	case r == nil:
		if stream%4 == api.StreamStderr {
			_ = s.out.write(stream, []byte(kept))
		}
		_ = s.out.write(stream, nil)
	default:
		s.out.copy(stream, r)
		_ = r.Close()
	}
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

// closeFiles closes all; those that are nil never were.
func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
