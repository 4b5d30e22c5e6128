// Package units reads the subset of systemd's unit files that machines without
// systemd run, and makes of them what a supervisor runs.
//
// What a unit says is done, or it is refused with its file, line and directive
// before any of it runs: nothing is silently left out.
package units

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast/internal/supervise"
)

// A Host is what specifiers and conditions ask about the machine.
type Host struct {
	Name, MachineID, BootID, Kernel string
	FirstBoot                       bool
	CommandLine                     string // the kernel's
}

// A Unit is one unit file with its drop-ins.
type Unit struct {
	Name    string
	Service supervise.Service
	Timer   *Timer // of a .timer
	Install Install
	// bare has no dependencies by default.
	bare bool
	// warned are other units that are named and need not exist.
	pulls []pull
	// conflicts are units that may not be started beside it.
	conflicts []pull
}

// A pull is a word that names another unit.
type pull struct {
	name     string
	required bool
	at       Place
}

// An Install is the section that says who wants a unit when it is enabled.
type Install struct {
	WantedBy, RequiredBy, Alias, Also []string
	DefaultInstance                   string
}

// A Timer says when a unit is started.
type Timer = supervise.Timer

// A Place is where something stands.
type Place struct {
	File      string
	Unit      string
	Section   string
	Directive string
	Line      int
}

// A Problem is one thing that is wrong at a place. Its words hold no value that
// may be a secret.
type Problem struct {
	Place
	Problem string
	// Warning marks what systemd accepts without a word, and so do we.
	Warning bool
}

func (p Problem) Error() string {
	s := p.File
	if p.Line > 0 {
		s += fmt.Sprintf(":%d", p.Line)
	}
	return s + ": " + p.Words()
}

// Words are the problem without its file and line.
func (p Problem) Words() string {
	var at []string
	if p.Section != "" {
		at = append(at, "["+p.Section+"]")
	}
	if p.Directive != "" {
		at = append(at, p.Directive+"=")
	}
	s := "unit " + p.Unit
	if len(at) > 0 {
		s += ": " + strings.Join(at, " ")
	}
	return s + ": " + p.Problem
}

// An InvalidError is all that is wrong with the units of a machine.
type InvalidError struct{ Problems []Problem }

func (e *InvalidError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].Error()
	}
	return fmt.Sprintf("%v (and %d more errors)", e.Problems[0], len(e.Problems)-1)
}

// reject is an error for what is no warning.
func reject(problems []Problem) error {
	wrong := slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool { return p.Warning })
	if len(wrong) == 0 {
		return nil
	}
	return &InvalidError{wrong}
}

// Kinds of units that run.
var kinds = []string{".service", ".timer", ".target"}

// elsewhere says of other kinds of units who does their work here.
var elsewhere = map[string]string{
	".mount":     "holdfast-node mounts the filesystems of the config at every boot: leave the unit out (in Butane, with_mount_unit)",
	".swap":      "holdfast-node turns on the swap areas of the config: leave the unit out",
	".socket":    "no service is started by a socket: let it listen itself",
	".path":      "nothing watches paths: use a timer",
	".automount": "holdfast-node mounts the filesystems of the config at every boot: leave the unit out",
	".slice":     "each service has a control group of its own, and there are no slices",
	".scope":     "scopes are made by programs that ask systemd",
	".device":    "devices are there before any unit starts",
}

var errEmptyName = errors.New("is no name of a unit: want NAME.service, NAME.timer or NAME.target")

// checkName says whether a name is one of a unit that runs.
func checkName(name string) error {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name) > 255 || strings.Trim(name[:dot], nameLetters) != "" || strings.HasPrefix(name, "@") {
		return fmt.Errorf("%.60q %w", name, errEmptyName)
	}
	if reason, known := elsewhere[name[dot:]]; known {
		return fmt.Errorf("%.60q is outside the subset: %s", name, reason)
	}
	if !slices.Contains(kinds, name[dot:]) {
		return fmt.Errorf("%.60q %w", name, errEmptyName)
	}
	return nil
}

const nameLetters = `abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\@`

// split tells a template from its instance.
func split(name string) (template, instance string) {
	at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.')
	if at < 0 || dot < at {
		return name, ""
	}
	return name[:at+1] + name[dot:], name[at+1 : dot]
}

// Defaults of systemd-system.conf(5).
const (
	defaultTimeout       = 90 * time.Second
	defaultRestart       = 100 * time.Millisecond
	defaultStartLimit    = 5
	defaultStartInterval = 10 * time.Second
)
