// Package cli is the command line: a file per verb, and no knowledge.
//
// A verb reads words, calls one package and prints. Answers go to standard
// output, everything else to standard error; --json prints one object. This
// is the only place that knows the flag library, the environment and hints.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// The exit codes, as the help of every verb states them.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3 // something did not verify, or somebody said no
	exitStale   = 4 // a lock names what no mirror has any more
	exitMissing = 5 // a tool or file that should be installed
)

// A Process is what the operating system gave the program.
type Process struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, p Process) int {
	a := &app{Process: p}
	root := a.root()
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	err := root.ExecuteContext(ctx)
	a.closeMeter()
	return a.report(err)
}

// app is one run of the program: its process and its global flags.
type app struct {
	Process
	state string
	json  bool
	quiet bool
	meter *meter
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Every byte by its hash, every actor by its key",
		Long: `Holdfast takes machines from bare metal to containers that run without trusting
anybody on the way: it composes images from locked packages, boots them with
Secure Boot and a TPM, lets them prove what they run, and only then releases
the keys of encrypted workloads.`,
		Example:           "  holdfast run images/redis\n  holdfast demo",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.state, "state", a.defaultState(), "folder that holds keys, images, caches and services")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON object; progress becomes JSON lines on standard error")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.verbs()...)
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// wrapArgs makes wrong words a usage error, wherever in the tree they are.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError carries a workload's own exit code, which needs no words.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints err, with its hint, and says which exit code it is.
func (a *app) report(err error) int {
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	code, hint := explain(err)
	if a.json {
		a.printJSON(a.Stderr, map[string]any{"error": err.Error(), "hint": hint, "exit_code": code})
		return code
	}
	fmt.Fprintf(a.Stderr, "holdfast: %v\n", err)
	if hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", hint)
	}
	return code
}

// answer prints v as JSON, or lets text say it.
func (a *app) answer(v any, text func(w io.Writer)) error {
	a.closeMeter()
	if a.json {
		return a.printJSON(a.Stdout, v)
	}
	text(a.Stdout)
	return nil
}

func (a *app) printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// progress is how this run shows long steps.
func (a *app) progress() *meter {
	if a.meter != nil {
		return a.meter
	}
	style, width := lines, 0
	if f, ok := a.Stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) && a.Getenv("TERM") != "dumb" {
		style = bar
		width, _, _ = term.GetSize(int(f.Fd()))
	}
	switch {
	case a.quiet:
		style = quiet
	case a.json:
		style = jsonLines
	}
	a.meter = newMeter(a.Stderr, style, width)
	return a.meter
}

func (a *app) closeMeter() {
	if a.meter != nil {
		a.meter.Close()
	}
}

// defaultState follows the XDG base directory specification.
func (a *app) defaultState() string {
	if dir := a.Getenv("HOLDFAST_STATE"); dir != "" {
		return dir
	}
	if dir := a.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "holdfast")
	}
	return filepath.Join(a.Getenv("HOME"), ".local", "share", "holdfast")
}
