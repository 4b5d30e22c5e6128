package provision

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"strings"
	"sync"
)

// newLog writes to the system's log, and to stdout when asked or when there is
// none.
func newLog(toStdout bool, stdout io.Writer) *slog.Logger {
	h := &handler{out: stdout, mu: &sync.Mutex{}}
	if !toStdout {
		if w, err := syslog.New(syslog.LOG_DEBUG, "ignition"); err == nil {
			h.system = w
		}
	}
	return slog.New(h)
}

// A handler writes a record as upstream does, its level first.
type handler struct {
	system *syslog.Writer
	mu     *sync.Mutex
	out    io.Writer // under mu
	with   []slog.Attr
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) WithGroup(string) slog.Handler { return h }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.with = append(append([]slog.Attr{}, h.with...), attrs...)
	return &more
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	attr := func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%q", a.Key, a.Value.Resolve().String()); return true }
	for _, a := range h.with {
		attr(a)
	}
	r.Attrs(attr)
	if h.system != nil {
		return h.toSystem(r.Level, b.String())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := fmt.Fprintf(h.out, "%-9s: %s\n", word(r.Level), b.String())
	return err
}

func (h *handler) toSystem(l slog.Level, line string) error {
	switch {
	case l >= slog.LevelError:
		return h.system.Crit(line)
	case l >= slog.LevelWarn:
		return h.system.Warning(line)
	case l >= slog.LevelInfo:
		return h.system.Info(line)
	}
	return h.system.Debug(line)
}

// word is the level's: an error here is one that ends the run.
func word(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "CRITICAL"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}
