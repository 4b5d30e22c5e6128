package wiring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/machine"
	"holdfast/internal/progress"
	"holdfast/internal/swtpm"
)

// usualGrace is how long a workload may take to end after it was asked to.
const usualGrace = 10 * time.Second

// boot runs the machine to its end. When ctx ends, the workload is asked to
// stop, and how it then ends is the outcome.
func (s *session) boot(ctx context.Context) (machine.Outcome, error) {
	m, err := s.start(ctx)
	if err != nil {
		return machine.Outcome{}, err
	}
	events := make(chan struct{})
	go func() { defer close(events); s.follow(m) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	output := make(chan error, 1)
	go func() {
		err := m.Stdio().Copy(s.Stdout, s.Stderr)
		if err != nil {
			cancel() // the workload would wait for ever for somebody to read
		}
		output <- err
	}()
	if s.Interactive {
		go feed(m.Stdio(), s.Stdin)
	}
	outcome, err := m.Wait(ctx)
	if err != nil {
		outcome = s.stop(m)
	}
	<-events
	if err := <-output; err != nil {
		return outcome, fmt.Errorf("the workload's output: %w", err)
	}
	return outcome, nil
}

func (s *session) start(ctx context.Context) (*machine.Machine, error) {
	// The TPM must outlive ctx: a machine that is asked to stop still runs.
	tpm, err := swtpm.Start(context.WithoutCancel(ctx), s.tpmDir())
	if err != nil {
		return nil, err
	}
	s.record.mention(func(r *Record) { r.State, r.TPM = Booting, filepath.Dir(tpm.ControlSocket()) })
	spec := machine.Spec{
		Name: s.Name, Folder: s.path("machine"), Disk: s.guest.DiskPath(),
		Memory: s.Memory, CPUs: s.CPUs, Accel: s.Accel, Firmware: &s.firmware,
		TPM: tpm, InitData: s.config, Disks: s.Disks, Ports: s.Publish, Console: s.Console,
	}
	if s.Host != nil {
		if err := s.Host(ctx, &spec); err != nil {
			return nil, errors.Join(err, spec.TPM.Close())
		}
	}
	return s.qemu.Start(ctx, spec)
}

// stop ends the machine, at the latest when stopBy says; that may change.
func (s *session) stop(m *machine.Machine) machine.Outcome {
	now := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for !time.Now().After(s.stopBy(now)) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(aliveEvery):
			}
		}
		select { // the machine kills its workload itself, and says so
		case <-ctx.Done():
		case <-time.After(lastWords):
			cancel()
		}
	}()
	return m.Stop(ctx, time.Until(s.stopBy(now)))
}

// lastWords is how long a machine may take that has killed its workload.
const lastWords = 5 * time.Second

// feed gives the workload its standard input. It ends with the input, or at
// the first write after the machine is gone; a terminal cannot be interrupted
// while it is read, so nobody waits for it.
func feed(to *machine.Stdio, from io.Reader) {
	if _, err := io.Copy(to, from); err == nil {
		_ = to.CloseInput()
	}
}

// follow shows the stages of the machine's life and keeps them for the report.
func (s *session) follow(m *machine.Machine) {
	step := s.Progress.Start("boot the machine", 0, progress.None)
	step.Note("firmware checks and measures the image")
	running := false
	for e := range m.Events() {
		switch e.Event {
		case api.EventStage:
			var d api.StageDetail
			if json.Unmarshal(e.Detail, &d) == nil {
				s.keepStage(d, time.Since(m.Started()))
				step.Note(machine.Printable(d.Name + ": " + d.Text))
				s.record.mention(func(r *Record) { r.Stage = machine.Printable(d.Name) })
			}
		case api.EventStarted:
			running = true
			after := time.Since(m.Started())
			s.report.StartedAfter = after
			step.Done("the workload runs")
			s.begun(m, after)
		}
	}
	if !running {
		step.Fail()
	}
}

// begun tells everybody that the workload runs.
func (s *session) begun(m *machine.Machine, after time.Duration) {
	now := time.Now()
	s.record.mention(func(r *Record) {
		r.State, r.Started, r.Ports = Live, &now, []string{}
		for _, p := range m.Ports() {
			r.Ports = append(r.Ports, p.String())
		}
	})
	if s.Started != nil {
		s.Started(&Running{Name: s.Name, Digest: string(s.workload.image.Digest), Ports: m.Ports(), After: after})
	}
}

// maxStages is more than any machine has: what one sends is its own word.
const maxStages = 64

func (s *session) keepStage(d api.StageDetail, after time.Duration) {
	if len(s.report.Stages) < maxStages {
		s.report.Stages = append(s.report.Stages, Stage{machine.Printable(d.Name), machine.Printable(d.Text), after})
	}
}
