package machine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"holdfast/internal/ignition/clevis"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/node"
	"holdfast/internal/wiring/provision"
)

// applyIgnition makes the machine what its measured configuration says.
func applyIgnition(ctx context.Context, p node.Provision) (string, error) {
	b := &provision.Boot{
		Ignition: p.Ignition, Digest: p.Digest, Stage: p.Stage,
		Exec: disks.Starter(p.Processes.Start).Run, Log: slog.New(&consoleLog{say: p.Log}),
	}
	if clevis.HasDevice() {
		b.TPM = clevis.Device()
	}
	text, err := b.Run(ctx)
	if err != nil {
		return "", err
	}
	return text, startUnits(ctx, p, b)
}

// startUnits starts the units of the root that the config has made. They end
// before the machine does.
func startUnits(ctx context.Context, p node.Provision, b *provision.Boot) error {
	ctx, cancel := context.WithCancel(ctx)
	u := Units{Processes: p.Processes, Log: b.Log, FirstBoot: b.First,
		Sink: func(service, line string) { p.Log(service + ": " + line) }}
	_, done, err := u.Start(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("units: %w", err)
	}
	p.AtEnd(func() { cancel(); <-done })
	return nil
}

// A consoleLog says warnings and worse: each line on a serial port takes time.
type consoleLog struct {
	say  func(string)
	with []slog.Attr
}

// Enabled lets warnings through.
func (*consoleLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// WithGroup ignores groups: nobody makes any.
func (l *consoleLog) WithGroup(string) slog.Handler { return l }

// WithAttrs keeps them for each line.
func (l *consoleLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &consoleLog{l.say, append(append([]slog.Attr{}, l.with...), attrs...)}
}

// Handle says one line.
func (l *consoleLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("ignition: " + r.Message)
	attr := func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%q", a.Key, a.Value.Resolve().String()); return true }
	for _, a := range l.with {
		attr(a)
	}
	r.Attrs(attr)
	l.say(b.String())
	return nil
}
