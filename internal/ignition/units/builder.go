package units

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"holdfast/internal/ignition/systime"
	"holdfast/internal/supervise"
)

// A builder makes a unit of its assignments.
type builder struct {
	unit       *Unit
	host       Host
	at         Place
	conditions []condition
	asserts    []condition
	kind       string // Type=
	start      []supervise.Command
	set        map[string]bool // directives that were given
	preserve   string          // RuntimeDirectoryPreserve=
	folders    map[string]*folderKind
	startOnly  bool // PermissionsStartOnly=
	fixedDelay bool // FixedRandomDelay=
	protection protection
}

// build makes a unit of its file and drop-ins, in the order in which they are
// applied.
func build(name string, h Host, list []assignment) (*Unit, []Problem) {
	b := &builder{unit: &Unit{Name: name}, host: h, set: map[string]bool{}, folders: map[string]*folderKind{}}
	b.protection = protection{bounding: math.MaxUint64, on: map[string]bool{}, paths: map[string][]supervise.Access{}}
	b.unit.Service = supervise.Service{Name: name, RestartDelay: defaultRestart, StartLimit: defaultStartLimit,
		StartInterval: defaultStartInterval, StartTimeout: defaultTimeout, StopTimeout: defaultTimeout}
	if kindOf(name) == ".timer" {
		b.unit.Timer = &Timer{}
	}
	var wrong []Problem
	for _, a := range list {
		b.at = a.Place
		if err := b.assign(a); err != nil {
			wrong = append(wrong, Problem{Place: a.Place, Problem: err.Error()})
		}
	}
	whole := Place{Unit: name}
	if len(list) > 0 {
		whole.File = list[0].File
	}
	for _, err := range b.finish() {
		wrong = append(wrong, Problem{Place: whole, Problem: err.Error()})
	}
	return b.unit, wrong
}

// sections are those that a kind of unit may have.
var sections = map[string][]string{
	".service": {"Unit", "Service", "Install"}, ".timer": {"Unit", "Timer", "Install"}, ".target": {"Unit", "Install"},
}

// assign takes one line. What begins with X- is for other programs
// (systemd.unit(5)).
func (b *builder) assign(a assignment) error {
	if strings.HasPrefix(a.Section, "X-") || strings.HasPrefix(a.Directive, "X-") {
		return nil
	}
	if !slices.Contains(sections[kindOf(b.unit.Name)], a.Section) {
		return fmt.Errorf("the section is outside the subset for a %s: want %s", kindOf(b.unit.Name)[1:], strings.Join(sections[kindOf(b.unit.Name)], ", "))
	}
	d, known := directives[a.Section][a.Directive]
	if !known {
		if why := refused[a.Directive]; why != "" {
			return errors.New("is outside the subset: " + why)
		}
		return errors.New("is outside the subset of docs/formats/units.md")
	}
	b.set[a.Directive] = a.value != ""
	return d.set(b, a.value)
}

// refused says more of directives that people will look for.
var refused = map[string]string{
	"BusName":          "there is no D-Bus",
	"Sockets":          "no service is started by a socket",
	"DynamicUser":      "users are those of the config's passwd section",
	"RootDirectory":    "services share the machine's root",
	"EnvironmentFiles": "the name is EnvironmentFile",
	"WatchdogSec":      "there is no watchdog of services",
	"LoadCredential":   "secrets come from the broker",
}

// finish is what can be judged only when all was read.
func (b *builder) finish() []error {
	var errs []error
	switch kindOf(b.unit.Name) {
	case ".service":
		errs = b.finishService()
	case ".timer":
		errs = b.finishTimer()
	default:
		b.unit.Service.Kind = supervise.Target
	}
	s := &b.unit.Service
	s.Condition, s.Assert = unmet(b.conditions, b.host), unmet(b.asserts, b.host)
	return append(errs, b.defaults()...)
}

// defaults are the dependencies that each unit has unless it says otherwise
// (systemd.service(5), systemd.target(5), systemd.timer(5)).
func (b *builder) defaults() []error {
	s := &b.unit.Service
	if b.unit.bare {
		return nil
	}
	switch kindOf(b.unit.Name) {
	case ".service":
		s.Requires = append(s.Requires, "sysinit.target")
		s.After = append(s.After, "sysinit.target", "basic.target")
	case ".timer":
		s.Requires = append(s.Requires, "sysinit.target")
		s.After = append(s.After, "sysinit.target")
		s.Before = append(s.Before, "timers.target")
	}
	return nil
}

func (b *builder) finishService() (errs []error) {
	s := &b.unit.Service
	s.Kind, s.Start = b.kind, b.start
	if s.Kind == "" {
		if s.Kind = supervise.Simple; len(s.Start) == 0 {
			s.Kind = supervise.Oneshot
		}
	}
	switch {
	case s.Kind != supervise.Oneshot && len(s.Start) != 1:
		errs = append(errs, fmt.Errorf("has %d ExecStart= commands: want one, or Type=oneshot", len(s.Start)))
	case len(s.Start) == 0 && (len(s.Stop) == 0 || !s.RemainAfter):
		errs = append(errs, errors.New("has no ExecStart=, and no ExecStop= with RemainAfterExit=yes"))
	case s.Kind == supervise.Oneshot && (s.Restart == "always" || s.Restart == "on-success"):
		//lint:ignore ST1005 a directive is spelled so
		errs = append(errs, fmt.Errorf("Restart=%s is not for Type=oneshot", s.Restart))
	}
	if s.Kind == supervise.Oneshot && !b.set["TimeoutStartSec"] && !b.set["TimeoutSec"] {
		s.StartTimeout = 0
	}
	if s.Kind == supervise.Notify && s.NotifyAccess == "none" {
		//lint:ignore ST1005 a directive is spelled so
		errs = append(errs, errors.New("Type=notify with NotifyAccess=none can never be up"))
	}
	if b.startOnly {
		for _, list := range [][]supervise.Command{s.StartIf, s.StartPre, s.StartPost, s.Reload, s.Stop, s.StopPost} {
			for i := range list {
				list[i].Privileged = true
			}
		}
	}
	s.Process.Folders = b.allFolders()
	s.Process.Sandbox = b.sandbox()
	return errs
}

func (b *builder) finishTimer() (errs []error) {
	t := b.unit.Timer
	if t.Unit == "" {
		t.Unit = strings.TrimSuffix(b.unit.Name, ".timer") + ".service"
	}
	if len(t.Boot)+len(t.Active)+len(t.UnitActive)+len(t.UnitInactive)+len(t.Calendar) == 0 {
		errs = append(errs, errors.New("says no time: want OnCalendar=, OnBootSec= or another On…="))
	}
	if b.fixedDelay && t.RandomDelay > 0 {
		sum := sha256.Sum256([]byte(b.host.MachineID + "\n" + b.unit.Name))
		delay := timeSpan(binary.BigEndian.Uint64(sum[:]) % uint64(t.RandomDelay))
		t.FixedDelay = &delay
	}
	b.unit.Service.Kind, b.unit.Service.Timer = supervise.Timed, t
	b.unit.Service.Before = append(b.unit.Service.Before, t.Unit)
	if t.Persistent {
		t.Stamp = "/var/lib/systemd/timers/stamp-" + b.unit.Name
	}
	return errs
}

// span is a time span of which infinity and 0 mean none.
func timeout(v string) (d timeSpan, err error) {
	d, err = systime.Span(v)
	if d == systime.Infinity {
		d = 0
	}
	return d, err
}
