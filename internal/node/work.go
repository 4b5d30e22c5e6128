package node

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"holdfast/internal/api"
)

// work runs the workload with its streams on the stdio port, and returns when
// the host has all of its output.
func (m *machine) work(ctx context.Context) (api.ExitDetail, error) {
	port, err := openPort(portsDir, api.StdioPort)
	if err != nil && !errors.Is(err, errNoPort) {
		return api.ExitDetail{}, &Refusal{"stdio", err}
	}
	if m.guest.Pod != nil {
		return m.pod(ctx, port)
	}
	s, err := newStreams(port, m.control.allows(api.CallStdin))
	if err != nil {
		return api.ExitDetail{}, &Refusal{"stdio", err}
	}
	exit, err := m.Workload(ctx, Job{
		Config: m.guest, Document: m.document, Stage: m.Stage,
		Started:   func() { m.control.send(api.EventStarted, nil) },
		Processes: m.processes, Stdio: s.theirs,
		Signals: m.control.signals, Stop: m.control.stop, Grace: m.control.stopGrace, Resolver: resolverFile, Link: m.link,
	})
	s.finish(patience)
	return exit, err
}

// streams are the pipes between the workload and the stdio port.
type streams struct {
	theirs [3]*os.File // what the workload gets
	output sync.WaitGroup
}

// newStreams makes the pipes. Without a port the console has the output;
// without leave there is no input.
func newStreams(port *os.File, input bool) (*streams, error) {
	s := new(streams)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	s.theirs[0] = null
	if port == nil {
		s.theirs[1], s.theirs[2] = os.Stderr, os.Stderr
		return s, nil
	}
	out := &frames{w: port}
	for _, stream := range []byte{api.StreamStdout, api.StreamStderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		s.theirs[stream] = w
		s.output.Go(func() { out.copy(stream, r) })
	}
	if !input {
		return s, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.theirs[0] = r
	go func() { _ = feed(patient{port, hostPause}, w) }() // lives as long as the port
	return s, nil
}

// finish closes our copies of the workload's ends and waits, within reason,
// until the host has what the workload wrote.
func (s *streams) finish(patience time.Duration) {
	for _, f := range s.theirs {
		if f != os.Stderr {
			_ = f.Close()
		}
	}
	waitFor(&s.output, patience)
}

// waitFor waits for all, within reason.
func waitFor(all *sync.WaitGroup, patience time.Duration) {
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
	}
}
