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
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

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

	exitInterrupted = 130 // by a signal, as shells have it for Ctrl-C
)

// A Process is what the operating system gave the program.
type Process struct {
	Args           []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Patience       time.Duration // with a server that says nothing; what each transport has when 0
}

// Main runs the command line and returns the exit code.
func Main(ctx context.Context, p Process) int {
	a := &app{Process: p}
	root := a.root()
	root.SetArgs(p.Args)
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	ran, err := root.ExecuteContextC(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = interruptedError{err}
	}
	if err != nil && !a.began {
		err = usageError{err}
		a.json = a.json || slices.Contains(p.Args, "--json") // the words behind the wrong one were not read
	}
	a.closeMeter()
	return a.report(ran, err)
}

// app is one run of the program: its process and its global flags.
type app struct {
	Process
	state string
	json  bool
	quiet bool
	talk  bool // --verbose
	meter *meter
	began bool // a verb took its words: what fails now is not their form
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "holdfast",
		Short:   "Every byte by its hash, every actor by its key",
		Version: version(),
		Long: `Holdfast takes machines from bare metal to containers that run without trusting
anybody on the way: it composes images from locked packages, boots them with
Secure Boot and a TPM, lets them prove what they run, and only then releases
the keys of encrypted workloads.

Exit codes are each verb's own; an interrupted one exits with 130.`,
		Example:           "  holdfast run images/redis\n  holdfast demo",
		Args:              nounArgs,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.state, "state", a.defaultState(), "folder that holds keys, images, caches and services")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print one JSON object; progress becomes JSON lines on standard error")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	root.PersistentFlags().BoolVarP(&a.talk, "verbose", "v", false, "log what is done, and warnings, on standard error")
	root.AddCommand(a.verbs()...)
	a.complete(root)
	nameWords(root)
	a.noteBegin(root)
	return root
}

// nameWords has every verb of c's tree say which words it takes when it was
// given too many or too few.
func nameWords(c *cobra.Command) {
	_, words, _ := strings.Cut(strings.ReplaceAll(c.Use, " [flags]", ""), " ")
	if args := c.Args; args != nil && words != "" {
		c.Args = func(cmd *cobra.Command, given []string) error {
			err := args(cmd, given)
			if err == nil || !strings.HasPrefix(err.Error(), "accepts ") && !strings.HasPrefix(err.Error(), "requires ") {
				return err // in words of our own
			}
			return fmt.Errorf("%s takes %s, and was given %s", strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), words, count(len(given), "word"))
		}
	}
	for _, sub := range c.Commands() {
		nameWords(sub)
	}
}

// noteBegin has every verb of c's tree note that it began, which the flag
// library does only once all words have the right form.
func (a *app) noteBegin(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.noteBegin(sub)
	}
}

// interruptedError is a verb that a signal ended before its work was done.
type interruptedError struct{ error }

func (interruptedError) Error() string { return "interrupted" }

type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError carries an exit code that needs no words: a workload's own, or
// that of an answer.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints err, which ran gave, with its hint, and says which exit code
// it is.
func (a *app) report(ran *cobra.Command, err error) int {
	var exit exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return int(exit)
	}
	code, hint := explain(err)
	if usage := (usageError{}); errors.As(err, &usage) {
		hint = `"` + ran.CommandPath() + ` --help" says what it takes`
	}
	text := printable(strings.Join(strings.FieldsFunc(err.Error(), isLineBreak), "; ")) // joined errors are a line each
	if a.json {
		_ = json.NewEncoder(a.Stderr).Encode(map[string]any{"error": text, "hint": hint, "exit_code": code})
		return code
	}
	fmt.Fprintf(a.Stderr, "holdfast: %s\n", text)
	if hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", hint)
	}
	return code
}

func isLineBreak(r rune) bool { return r == '\n' || r == '\r' }

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
	home := a.Getenv("HOME")
	if home == "" { // as for a service; never the working directory
		home = "/root"
		if u, err := user.Current(); err == nil && u.HomeDir != "" {
			home = u.HomeDir
		}
	}
	return filepath.Join(home, ".local", "share", "holdfast")
}
