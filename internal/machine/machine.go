package machine

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/internal/api"
)

// A Backend is one running machine as whatever runs it shows it. Its streams
// end when the machine is gone.
type Backend interface {
	Console() io.Reader
	Control() net.Conn
	Stdio() net.Conn
	// PowerDown presses the power button.
	PowerDown(context.Context) error
	// Kill ends the machine at once; it may be called at any time.
	Kill()
	// Wait returns when the machine is gone.
	Wait() Exited
	// Close frees what it held, save Stdio. It is called once, after Wait and
	// when the streams were read to their end.
	Close() error
}

// Options are how a machine is watched.
type Options struct {
	Logger *slog.Logger  // default: none
	Linger time.Duration // how long a machine that is about to end may take; default 10 s
}

// A Machine is running, or ended. Its methods may be called at once.
type Machine struct {
	spec    Spec
	backend Backend
	log     *slog.Logger
	linger  time.Duration
	started time.Time
	console *console
	control *control
	stdio   *Stdio

	gone     chan struct{}  // closed when the backend is
	goodbyes sync.WaitGroup // of goodbye
	done     chan struct{}
	outcome  Outcome // set before done is closed

	mu     sync.Mutex
	found  Outcome         // the most telling so far; guarded by mu, as are all below
	exit   *api.ExitDetail // what the machine said of its workload
	killed bool
	ending *time.Timer
}

// ConsoleLog is the file in a machine's folder that holds its console.
const ConsoleLog = "console.log"

// Watch takes charge of a backend that has just been started for spec, and
// follows it to its end.
func Watch(spec Spec, backend Backend, started time.Time, opts Options) (*Machine, error) {
	file, err := os.OpenFile(filepath.Join(spec.Folder, ConsoleLog), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Linger == 0 {
		opts.Linger = 10 * time.Second
	}
	m := &Machine{
		spec: spec, backend: backend, started: started,
		log: opts.Logger.With("machine", spec.Name), linger: opts.Linger,
		stdio: newStdio(backend.Stdio()), gone: make(chan struct{}),
		done: make(chan struct{}),
	}
	outs := []io.Writer{&cappedWriter{file, maxConsoleLog}}
	if spec.Console != nil {
		outs = append(outs, spec.Console)
	}
	m.console = &console{outs: outs, found: m.sawLine}
	channel := backend.Control()
	if spec.Tap != nil {
		channel = spec.Tap(channel)
	}
	m.control = newControl(channel, m.log, m.sawEvent)
	go m.live(file)
	return m, nil
}

// live follows the machine to its end.
func (m *Machine) live(logFile io.Closer) {
	var readers sync.WaitGroup
	readers.Go(func() { m.complain("console", m.console.read(m.backend.Console())) })
	readers.Go(func() { m.complain("control channel", m.control.read()) })
	exited := m.backend.Wait()
	close(m.gone)
	readers.Wait()
	m.goodbyes.Wait()
	m.complain("console", logFile.Close())
	m.complain("leftovers", m.backend.Close())
	m.outcome = m.judge(exited)
	close(m.done)
}

func (m *Machine) complain(what string, err error) {
	if err != nil {
		m.log.Warn("machine's "+what+" broken off", "err", err)
	}
}

// Wait returns how the machine's life ended. When ctx ends first it returns
// its error, and the machine goes on.
func (m *Machine) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-m.done:
		return m.outcome, nil
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// Stop asks the machine to end, gives its workload grace to do so, and kills it
// when it does not or ctx ends. A machine that has not spoken yet is killed at
// once: nothing runs in it that could be asked.
func (m *Machine) Stop(ctx context.Context, grace time.Duration) Outcome {
	if m.control.heard() && ctx.Err() == nil && grace > 0 {
		m.ask(ctx, grace)
	}
	m.Kill()
	<-m.done
	return m.outcome
}

func (m *Machine) ask(ctx context.Context, grace time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, grace+m.linger)
	defer cancel()
	params, err := json.Marshal(api.StopParams{Seconds: int(math.Ceil(grace.Seconds()))})
	if err != nil {
		return
	}
	if _, err := m.Call(ctx, api.Call{Call: api.CallStop, Params: params}); err != nil {
		m.log.Debug("machine does not take the stop call", "err", err)
		if err := m.backend.PowerDown(ctx); err != nil {
			m.log.Debug("machine has no power button", "err", err)
			return
		}
	}
	select {
	case <-m.done:
	case <-ctx.Done():
	}
}

// Kill ends the machine at once. Wait tells when it is gone.
func (m *Machine) Kill() {
	m.mu.Lock()
	m.killed = true
	m.mu.Unlock()
	m.backend.Kill()
}

// Call sends a call to the machine and returns its reply. The ID is chosen
// here. A machine that refuses the call answers with a *CallError.
func (m *Machine) Call(ctx context.Context, call api.Call) (api.Event, error) {
	return m.control.call(ctx, call)
}

// Events gives the machine's news, and is closed when there will be none. A
// few hundred wait for a slow reader; then some are lost. What they say is
// the machine's own claim: show it through Printable.
func (m *Machine) Events() <-chan api.Event { return m.control.events }

// Stdio gives the workload's standard streams.
func (m *Machine) Stdio() *Stdio { return m.stdio }

// Console gives the last lines of the console, made printable.
func (m *Machine) Console() []string { return m.console.lines() }

// Ports gives the published ports, each with the host port it really has.
func (m *Machine) Ports() []Forward { return m.spec.Ports }

// Started tells when the machine's process was started.
func (m *Machine) Started() time.Time { return m.started }

func (m *Machine) sawLine(line string) {
	if found, ok := recognise(line); ok {
		m.note(found)
	}
}

// outputTime is how long a machine whose workload has ended waits for its
// output to be copied. Often nobody wants it.
const outputTime = time.Second

// goodbye lets the machine power off as soon as all that it said is here.
func (m *Machine) goodbye(wait time.Duration) {
	select {
	case <-m.stdio.copied:
	case <-m.gone:
	case <-time.After(wait):
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.linger)
	defer cancel()
	if _, err := m.Call(ctx, api.Call{Call: api.CallGoodbye}); err != nil {
		m.log.Debug("machine left without a goodbye", "err", err)
	}
}

func (m *Machine) sawEvent(event api.Event) {
	switch event.Event {
	case api.EventRefused:
		refusal := &api.RefusedDetail{}
		if json.Unmarshal(event.Detail, refusal) == nil {
			m.note(Outcome{Reason: Refused, Refusal: refusal})
		}
		m.goodbyes.Go(func() { m.goodbye(0) })
	case api.EventExited:
		exit := &api.ExitDetail{}
		if json.Unmarshal(event.Detail, exit) == nil {
			m.noteExit(exit)
		}
		m.goodbyes.Go(func() { m.goodbye(outputTime) })
	}
}
