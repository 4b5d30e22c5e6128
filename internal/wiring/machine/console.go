package machine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A consoleLog says warnings and worse: each line on a serial port takes time.
type consoleLog struct {
	say  func(string)
	name string
	with []slog.Attr
}

// Enabled lets warnings through.
func (*consoleLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// WithGroup ignores groups: nobody makes any.
func (l *consoleLog) WithGroup(string) slog.Handler { return l }

// WithAttrs keeps them for each line.
func (l *consoleLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &consoleLog{l.say, l.name, append(append([]slog.Attr{}, l.with...), attrs...)}
}

// Handle says one line.
func (l *consoleLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(l.name + ": " + r.Message)
	attr := func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%q", a.Key, a.Value.Resolve().String()); return true }
	for _, a := range l.with {
		attr(a)
	}
	r.Attrs(attr)
	l.say(b.String())
	return nil
}
