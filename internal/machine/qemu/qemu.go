package qemu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/machine"
)

// A Config says how machines are run. The zero value is useful.
type Config struct {
	Binary string // default: qemu-system-x86_64 on the search path
	// AccelFile remembers whether KVM works here; empty: it is probed anew.
	AccelFile string
	Logger    *slog.Logger
	Linger    time.Duration // see machine.Options
}

// QEMU starts machines.
type QEMU struct {
	binary string
	config Config
	log    *slog.Logger
}

// New finds QEMU. When there is none it returns a *MissingError.
func New(config Config) (*QEMU, error) {
	binary, err := findBinary(config.Binary)
	if err != nil {
		return nil, err
	}
	log := config.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &QEMU{binary: binary, config: config, log: log}, nil
}

// startLimit is how long QEMU may take to answer on its monitor.
const startLimit = time.Minute

// Start starts a machine. Ctx bounds the start alone: the machine goes on
// until it ends, is stopped, or this process ends. Errors that a caller may
// test for: *PortTakenError, *InUseError, *NoKVMError.
func (q *QEMU) Start(ctx context.Context, spec machine.Spec) (*machine.Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	held := &holdings{tpm: spec.TPM}
	spec, err := spec.Complete()
	if err == nil {
		var m *machine.Machine
		if m, err = q.prepare(ctx, spec, held); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("start machine %s: %w", spec.Name, errors.Join(err, held.Close()))
}

// prepare does all that can be done, and can fail, before QEMU runs.
func (q *QEMU) prepare(ctx context.Context, spec machine.Spec, held *holdings) (*machine.Machine, error) {
	if err := takeFolder(&spec, held); err != nil {
		return nil, err
	}
	if err := checkPorts(ctx, spec.Ports); err != nil {
		return nil, err
	}
	accel, err := q.Accel(ctx, spec.Accel)
	if err != nil {
		return nil, err
	}
	return q.launch(ctx, spec, accel, held)
}

func (q *QEMU) launch(ctx context.Context, spec machine.Spec, accel machine.Accel, held *holdings) (*machine.Machine, error) {
	w, err := newWires(ctx, spec.TPM)
	if err != nil {
		return nil, err
	}
	if err := w.plug(spec.Wire); err != nil {
		return nil, err
	}
	started := time.Now()
	p, err := spawn(q.binary, arguments(spec, accel), w.theirs)
	if err != nil {
		w.close()
		return nil, err
	}
	b := &backend{process: p, wires: w, monitor: startMonitor(w.monitor, p.kill), holdings: held}
	err = greet(ctx, b, spec.Ports)
	if err == nil {
		var m *machine.Machine
		m, err = machine.Watch(spec, b, started, machine.Options{Logger: q.log, Linger: q.config.Linger})
		if err == nil {
			return m, nil
		}
	}
	b.kill()
	<-b.done
	w.close()
	return nil, err
}

// greet makes sure that QEMU came up, and asks which ports it picked.
func greet(ctx context.Context, b *backend, ports []machine.Forward) error {
	_, err := b.monitor.execute(ctx, "qmp_capabilities", nil)
	if errors.Is(err, errMonitorClosed) {
		<-b.done
		return errors.New(b.exited.String())
	}
	if err != nil {
		return err
	}
	return resolvePorts(ctx, b.monitor, ports)
}
