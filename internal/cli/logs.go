package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"holdfast/internal/journal"
	"holdfast/internal/wiring"
)

// logFlags are the words of logs.
type logFlags struct {
	follow, console, timestamps bool
	since                       string
}

func (a *app) logsVerb() *cobra.Command {
	f := &logFlags{}
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a detached workload wrote",
		Long: `Shows the workload's standard output on standard output and its standard error
on standard error, byte by byte. The latest 16 MiB are kept; of what went a line
on standard error says so. With --json each piece is an object on a line.

Exit codes: 0 shown, 1 nothing was kept or there is no such run, 2 usage.`,
		Example: "  holdfast logs --follow db\n  holdfast logs --since 10m db\n  holdfast logs --console db",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the run ends")
	c.Flags().BoolVar(&f.console, "console", false, "show the machine's console instead, made printable")
	c.Flags().BoolVarP(&f.timestamps, "timestamps", "t", false, "begin each line with its time")
	c.Flags().StringVar(&f.since, "since", "", "only what came after: a time as 2026-05-04T12:00:00Z, or a duration ago as 10m")
	c.ValidArgsFunction = a.runNames
	c.RunE = func(cmd *cobra.Command, args []string) error {
		since, err := parseSince(f.since, time.Now())
		if err != nil {
			return usageError{err}
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		r, err := dir.FindRun(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		over := func() bool { return !f.follow || !dir.Alive(r.Name) }
		if f.console {
			err = a.showConsole(cmd.Context(), dir.ConsolePath(r.Name), over)
		} else {
			err = a.showOutput(cmd.Context(), dir.Output(r.Name), f, since, over)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return &nothingKept{r, f.console}
		}
		return err
	}
	return c
}

// nothingKept is a run without what was asked for.
type nothingKept struct {
	run     *wiring.Record
	console bool
}

func (e *nothingKept) Error() string {
	what := "output"
	if e.console {
		what = "console"
	}
	return fmt.Sprintf("no %s is kept of run %s, which is %s", what, e.run.Name, stateOf(e.run))
}

// hint says why that is.
func (e *nothingKept) hint() string {
	switch {
	case e.console:
		return "a run's console is kept while it runs, and when its machine ended badly"
	case !e.run.Detached:
		return "a run that is not detached writes to where it was started"
	case e.run.Started == nil:
		return `its workload never ran; "holdfast logs --console ` + e.run.Name + `" shows its machine`
	}
	return "it was started with --log none"
}

func parseSince(word string, now time.Time) (time.Time, error) {
	if word == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(word); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, word)
	if err != nil {
		err = fmt.Errorf("--since %.40q: want a time as 2026-05-04T12:00:00Z, or a duration as 10m", word)
	}
	return t, err
}

func (a *app) showOutput(ctx context.Context, path string, f *logFlags, since time.Time, over func() bool) error {
	out := map[journal.Stream]io.Writer{journal.Stdout: a.Stdout, journal.Stderr: a.Stderr}
	if f.timestamps {
		out = map[journal.Stream]io.Writer{journal.Stdout: &stamped{w: a.Stdout}, journal.Stderr: &stamped{w: a.Stderr}}
	}
	return journal.Follow(ctx, path, over, func(e journal.Entry) error {
		if e.Time.Before(since) {
			return nil
		}
		if a.json {
			return a.entryLine(e)
		}
		if e.Stream == journal.Note {
			a.remark("%s", printable(string(e.Data)))
			return nil
		}
		if s, ok := out[e.Stream].(*stamped); ok {
			s.at = e.Time
		}
		_, err := out[e.Stream].Write(e.Data)
		return err
	})
}

var streamNames = map[journal.Stream]string{journal.Stdout: "stdout", journal.Stderr: "stderr", journal.Note: "note"}

func (a *app) entryLine(e journal.Entry) error {
	line := map[string]any{"time": e.Time.UTC().Format(time.RFC3339Nano), "stream": streamNames[e.Stream]}
	if utf8.Valid(e.Data) {
		line["text"] = string(e.Data)
	} else {
		line["base64"] = e.Data
	}
	return json.NewEncoder(a.Stdout).Encode(line)
}

// stamped begins each line with the time at which its first bytes came.
type stamped struct {
	w    io.Writer
	at   time.Time
	open bool // a line is not at its end
}

func (s *stamped) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if !s.open {
			line = s.at.UTC().Format("2006-01-02T15:04:05.000Z ") + line
		}
		s.open = !strings.HasSuffix(line, "\n")
		if _, err := io.WriteString(s.w, line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// showConsole shows a serial port's lines without what could act on a
// terminal.
func (a *app) showConsole(ctx context.Context, path string, over func() bool) error {
	return followLines(ctx, path, over, func(line string) error {
		_, err := fmt.Fprintln(a.Stdout, printable(line))
		return err
	})
}
