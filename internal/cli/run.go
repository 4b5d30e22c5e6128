package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/machine"
	"holdfast/internal/seal"
	"holdfast/internal/wiring"
)

// The exit codes of run beside the workload's own, as docker run has them.
const (
	exitRunFailed  = 125 // Holdfast could not run it
	exitRunRefused = 126 // somebody in the chain refused
)

func (a *app) runVerb() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run IMAGE [flags] [-- ARG…]",
		Short: "Run a container in a machine of its own that proves itself first",
		Long: `Boots a machine with Secure Boot and a TPM, lets it prove which bytes it runs,
and runs the container IMAGE in it. Keys of encrypted layers and secrets are
released only to the proven machine. Registry and broker are started for the
run, and the machine image is built when it is absent.

IMAGE is a registry reference, an OCI layout, an archive of docker save (- for
standard input), or the folder of a recipe.

With --detach it returns when the workload runs, that is when the proof was
accepted, and prints the run's name for ps, logs, stop and rm. Its output is
then kept on this host's disk, unless --log none.

With --json standard output has one object, the report of the run; progress and
the workload's own output are JSON lines on standard error.

Exit codes: the workload's own; 125 Holdfast could not run it, 126 something was
refused because it did not verify, 2 usage.`,
		Example: "  docker save my-image | holdfast run --publish 8080:80 -\n" +
			"  holdfast run --secret token=@token.txt --env MODE=test oci:my-image -- --verbose",
		Args: cobra.MinimumNArgs(1),
	}
	f.on(c)
	sources, transport := sourceFlags(c), a.transportFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := a.understand(f, args)
		if err != nil {
			return usageError{err}
		}
		if err := seal.NoDumps(); err != nil {
			return fmt.Errorf("keep secrets out of core dumps: %w", err)
		}
		if r.Transport, err = transport(); err != nil {
			return usageError{fmt.Errorf("--ca: %w", err)}
		}
		if r.Builder, err = a.builder(*sources); err != nil {
			return runError{err}
		}
		if _, err := os.Stat(r.Guest); err != nil {
			return runError{fmt.Errorf("machine image: %w; --guest names one, or its recipe's folder", err)}
		}
		if f.detach {
			return a.detach(cmd.Context(), detached{Run: r, Sources: *sources, CA: r.Transport.CA})
		}
		r.Builder.Node = nodeProgram()
		r.Started = a.ready
		return a.run(cmd.Context(), r)
	}
	return c
}

// run runs r and turns how it ended into an exit code.
func (a *app) run(ctx context.Context, r wiring.Run) error {
	if a.json && !r.Detached {
		r.Stdout, r.Stderr = outputLines{a.progress(), "stdout"}, outputLines{a.progress(), "stderr"}
	}
	result, err := r.Installation.Run(ctx, r)
	if err != nil {
		return runError{err}
	}
	if a.json && !r.Detached {
		if err := a.printJSON(a.Stdout, result.Report); err != nil {
			return err
		}
	}
	o := result.Outcome
	switch {
	case o.Reason == machine.PoweredOff && o.Exit != nil:
		if o.Exit.OOMKilled {
			a.remark("%s; --memory gives it more", o)
		}
		return exitCode(o.Exit)
	case result.Interrupted:
		return interruptedError{ctx.Err()}
	}
	return refusedError{outcome: o, report: result.Report}
}

// remark is a line for a person who reads along.
func (a *app) remark(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.progress(), "holdfast: "+format+"\n", args...)
	}
}

// outputLines shows what a workload writes as JSON lines. What is no text is
// in "base64" instead of "text".
type outputLines struct {
	w      io.Writer
	stream string
}

func (o outputLines) Write(p []byte) (int, error) {
	line := map[string]any{"event": "output", "stream": o.stream, "text": string(p)}
	if !utf8.Valid(p) {
		delete(line, "text")
		line["base64"] = p
	}
	raw, err := json.Marshal(line)
	if err != nil {
		return 0, err
	}
	_, err = o.w.Write(append(raw, '\n'))
	return len(p), err
}

func exitCode(e *api.ExitDetail) error {
	if e.Code == 0 {
		return nil
	}
	if e.Code < 0 || e.Code > 255 { // a machine's word: exit(3) would take 256 for 0
		return runError{fmt.Errorf("the machine says that its workload exited with code %d", e.Code)}
	}
	return exitError(e.Code)
}

// runError is a failure before the workload ran.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// refusedError is a machine that ended without running its workload.
type refusedError struct {
	outcome machine.Outcome
	report  *wiring.Report
}

func (e refusedError) Error() string { return "run: " + e.outcome.String() }

// ready tells what one wants to know once the workload runs.
func (a *app) ready(r *wiring.Running) {
	published := []string{}
	for _, p := range r.Ports {
		published = append(published, p.String())
	}
	w := a.progress()
	if a.json {
		_ = json.NewEncoder(w).Encode(map[string]any{"event": "started", "name": r.Name, "published": published})
		return
	}
	for _, p := range published {
		fmt.Fprintf(w, "  published %s\n", p)
	}
}
