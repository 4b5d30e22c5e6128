// Package provision is the Ignition engine as a command: upstream's flags and
// variables, and the parts of the engine joined.
package provision

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/platform"
)

// Version is upstream's whose behaviour this has.
const Version = "Ignition v2.26.0 (holdfast)"

// Exit codes, as upstream's.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Words finds the engine's arguments in a command line that calls it, by its
// name or by its first word.
func Words(args []string) ([]string, bool) {
	if filepath.Base(args[0]) == "ignition" {
		return args[1:], true
	}
	if len(args) > 1 && args[1] == "ignition" {
		return args[2:], true
	}
	return nil, false
}

// A Command is one call of the engine.
type Command struct {
	Args           []string
	Env            func(string) string
	Stdout, Stderr io.Writer
}

type flags struct {
	cache, needNet, platform, root, stage, state string
	timeout                                      time.Duration
	version, toStdout                            bool

	key, measure                      string
	reportURL, reportFile, reportKeep string
	console                           io.Writer
	kernel                            string // its command line
}

func (c Command) parse() (flags, error) {
	var f flags
	set := flag.NewFlagSet("ignition", flag.ContinueOnError)
	set.SetOutput(c.Stderr)
	set.StringVar(&f.cache, "config-cache", "/run/ignition.json", "`FILE` that keeps the config for later stages")
	set.DurationVar(&f.timeout, "fetch-timeout", 2*time.Minute, "how long to wait for the config")
	set.StringVar(&f.needNet, "neednet", "/run/ignition/neednet", "`FILE` that fetch-offline leaves when it needs the network")
	set.StringVar(&f.platform, "platform", "", "`NAME` of the platform; by default that of ignition.platform.id on the kernel's command line")
	set.StringVar(&f.root, "root", "/", "`FOLDER` that the config is applied to")
	set.StringVar(&f.stage, "stage", "", "`STAGE`: "+strings.Join(ignition.Stages, ", "))
	set.StringVar(&f.state, "state-file", "/run/ignition/state", "`FILE` for what a stage leaves for the next")
	set.BoolVar(&f.version, "version", false, "print the version")
	set.BoolVar(&f.toStdout, "log-to-stdout", false, "log to stdout instead of the system's log")
	set.StringVar(&f.key, "config-key", "", "`KEY` that must have signed the config: sha256:HEX, or a PEM file of roots")
	set.StringVar(&f.measure, "measure", "auto", "extend configs into the TPM: `WHEN` is auto, required or off")
	set.StringVar(&f.reportURL, "report-url", "", "`URL` that is told how the run went")
	set.StringVar(&f.reportFile, "report-file", "", "`FILE` of the report; report.json beside that of -state-file")
	set.StringVar(&f.reportKeep, "report-keep", "", "`PATH` below -root that keeps the report for later boots")
	if err := set.Parse(c.Args); err != nil {
		return f, err
	}
	f.arguments(firstLine("/proc/cmdline"))
	switch {
	case f.version:
	case f.platform == "":
		return f, c.usage("-platform NAME is missing")
	case !slices.Contains(ignition.Stages, f.stage):
		return f, c.usage(fmt.Sprintf("-stage %q: want one of %s", f.stage, strings.Join(ignition.Stages, ", ")))
	}
	return f, nil
}

// arguments are those of the kernel's command line, which is measured where
// anything is: they count before flags, except for the platform.
func (f *flags) arguments(line string) {
	f.kernel = line
	if id, ok := ignition.Argument(f.kernel, "ignition.platform.id"); ok && f.platform == "" {
		f.platform = id
	}
	for name, value := range map[string]*string{"ignition.config.key": &f.key, "ignition.measure": &f.measure,
		"ignition.report.url": &f.reportURL, "ignition.report.keep": &f.reportKeep} {
		if v, ok := ignition.Argument(f.kernel, name); ok {
			*value = v
		}
	}
	if f.reportFile == "" {
		f.reportFile = filepath.Join(filepath.Dir(f.state), "report.json")
	}
}

func (c Command) usage(problem string) error {
	_, _ = fmt.Fprintln(c.Stderr, "ignition: "+problem)
	return errors.New(problem)
}

// Run is the exit code. What went wrong is one critical line of the log.
func (c Command) Run(ctx context.Context) int {
	f, err := c.parse()
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return exitUsage
	}
	if f.version {
		_, _ = fmt.Fprintln(c.Stdout, Version)
		return 0
	}
	debug.SetGCPercent(50) // a boot has little memory yet, and waits for disks and servers
	log := newLog(f.toStdout, c.Stdout)
	provide, err := platform.Find(f.platform)
	if err != nil {
		_ = c.usage(err.Error())
		return exitUsage
	}
	if !f.toStdout {
		f.console = openConsole()
	}
	log.Info(Version, "stage", f.stage)
	conf, err := c.config(f, provide, log)
	if err == nil {
		err = ignition.Run(ctx, f.stage, conf)
	}
	if err != nil {
		log.Error("Ignition failed: " + err.Error())
		return exitFailed
	}
	log.Info("Ignition finished successfully")
	return 0
}

// variable is one of upstream's, with its default.
func (c Command) variable(name, otherwise string) string {
	if v := c.Env("IGNITION_" + name); v != "" {
		return v
	}
	return otherwise
}

// now is the clock; a build or a test may set it, as it can for useradd.
func (c Command) now() func() time.Time {
	if n, err := strconv.ParseInt(c.Env("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return func() time.Time { return time.Unix(n, 0) }
	}
	return time.Now
}

func firstLine(path string) string {
	raw, _ := os.ReadFile(path) // what the kernel does not say is empty
	return strings.TrimSpace(string(raw))
}
