package units

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"holdfast/internal/ignition/systime"
	"holdfast/internal/supervise"
)

type timeSpan = time.Duration

// A directive is one of the subset.
type directive struct {
	set func(b *builder, v string) error
	// means is what the table of docs/formats/units.md says of it.
	means string
}

// directives are the subset, by section and name.
var directives = map[string]map[string]directive{
	"Unit": merged(map[string]directive{
		"Description":         {func(b *builder, v string) (err error) { b.unit.Service.Description, err = b.expand(v); return err }, "shown in the state of the service"},
		"Documentation":       {nothing, "not read"},
		"After":               {names(func(u *Unit) *[]string { return &u.Service.After }), "order; a unit that is not there is left out"},
		"Before":              {names(func(u *Unit) *[]string { return &u.Service.Before }), "order; a unit that is not there is left out"},
		"Requires":            {pulls(func(u *Unit) *[]string { return &u.Service.Requires }, true), "started and stopped with it; must exist"},
		"BindsTo":             {pulls(func(u *Unit) *[]string { return &u.Service.BindsTo }, true), "as Requires, and stopped when it ends by itself"},
		"Wants":               {pulls(func(u *Unit) *[]string { return &u.Service.Wants }, false), "started with it; one that is not there is a warning"},
		"PartOf":              {names(func(u *Unit) *[]string { return &u.Service.PartOf }), "stopped and restarted with it"},
		"OnFailure":           {pulls(func(u *Unit) *[]string { return &u.Service.OnFailure }, true), "started when this one has failed for good; must exist"},
		"Conflicts":           {conflicts, "shutdown.target and the like only: all is stopped at the end"},
		"DefaultDependencies": {func(b *builder, v string) error { yes, err := boolean(v); b.unit.bare = !yes; return err }, "without: no order behind sysinit.target and basic.target"},
		"StartLimitIntervalSec": {func(b *builder, v string) (err error) {
			b.unit.Service.StartInterval, err = systime.Span(v)
			return err
		}, "10 s when absent; 0 for no limit"},
		"StartLimitBurst": {func(b *builder, v string) (err error) {
			b.unit.Service.StartLimit, err = integer(v, 0, math.MaxInt32)
			return err
		}, "5 when absent; 0 for no limit"},
	}, conditions("Condition", "unmet: not started, which is no failure"), conditions("Assert", "unmet: failed")),
	"Service": merged(map[string]directive{
		"Type":          {kind, "simple, exec, oneshot or notify; without ExecStart= oneshot, else simple"},
		"ExecCondition": {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartIf }), "exit code 1 to 254: not started, which is no failure"},
		"ExecStartPre":  {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartPre }), "commands before"},
		"ExecStart":     {execs(func(b *builder) *[]supervise.Command { return &b.start }), "the command; several for oneshot"},
		"ExecStartPost": {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StartPost }), "commands when it is up"},
		"ExecReload":    {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.Reload }), "commands that have it read its configuration again: when the machine's certificate is renewed and `reload` of its `identity` names it"},
		"ExecStop":      {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.Stop }), "commands that stop it, when it had started"},
		"ExecStopPost":  {execs(func(b *builder) *[]supervise.Command { return &b.unit.Service.StopPost }), "commands when it has stopped"},
		"Restart":       {restart, "no, always, on-success, on-failure, on-abnormal, on-abort"},
		"RestartSec":    {func(b *builder, v string) (err error) { b.unit.Service.RestartDelay, err = systime.Span(v); return err }, "100 ms when absent"},
		"RestartSteps": {func(b *builder, v string) (err error) {
			b.unit.Service.RestartSteps, err = integer(v, 0, 1000)
			return err
		}, "steps in which the pause grows to RestartMaxDelaySec (systemd 254)"},
		"RestartMaxDelaySec":       {func(b *builder, v string) (err error) { b.unit.Service.MaxDelay, err = systime.Span(v); return err }, "the longest pause of RestartSteps"},
		"RestartPreventExitStatus": {func(b *builder, v string) (err error) { b.unit.Service.NeverRestartOn, err = statuses(v); return err }, "exit codes and signals"},
		"SuccessExitStatus":        {func(b *builder, v string) (err error) { b.unit.Service.SuccessOn, err = statuses(v); return err }, "exit codes and signals"},
		"RemainAfterExit":          {flag(func(b *builder, yes bool) { b.unit.Service.RemainAfter = yes }), "stays active when its processes have ended"},
		"TimeoutStartSec":          {func(b *builder, v string) (err error) { b.unit.Service.StartTimeout, err = timeout(v); return err }, "for each command; 90 s when absent, none for oneshot"},
		"TimeoutStopSec":           {func(b *builder, v string) (err error) { b.unit.Service.StopTimeout, err = timeout(v); return err }, "90 s when absent"},
		"TimeoutSec": {func(b *builder, v string) error {
			d, err := timeout(v)
			b.unit.Service.StartTimeout, b.unit.Service.StopTimeout = d, d
			return err
		}, "both"},
		"NotifyAccess":        {notifyAccess, "none, main or all"},
		"KillMode":            {killMode, "control-group, mixed, process or none"},
		"KillSignal":          {func(b *builder, v string) (err error) { b.unit.Service.Kill.Signal, err = signal(v); return err }, "SIGTERM when absent"},
		"FinalKillSignal":     {func(b *builder, v string) (err error) { b.unit.Service.Kill.FinalSignal, err = signal(v); return err }, "SIGKILL when absent"},
		"SendSIGKILL":         {flag(func(b *builder, yes bool) { b.unit.Service.Kill.NoFinal = !yes }), "yes when absent"},
		"SendSIGHUP":          {flag(func(b *builder, yes bool) { b.unit.Service.Kill.Hangup = yes }), "SIGHUP follows at once"},
		"Environment":         {environment, "NAME=VALUE words"},
		"EnvironmentFile":     {environmentFile, "an absolute path, - before it for one that may be absent; no wildcards"},
		"PassEnvironment":     {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.PassEnv, v) }, "names of process 1's own"},
		"UnsetEnvironment":    {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.UnsetEnv, v) }, "names, or NAME=VALUE"},
		"WorkingDirectory":    {workingDirectory, "an absolute path or ~, - before it for one that may be absent"},
		"User":                {func(b *builder, v string) (err error) { b.unit.Service.Process.User, err = b.account(v); return err }, "a name or number"},
		"Group":               {func(b *builder, v string) (err error) { b.unit.Service.Process.Group, err = b.account(v); return err }, "a name or number"},
		"SupplementaryGroups": {func(b *builder, v string) error { return b.list(&b.unit.Service.Process.Groups, v) }, "names or numbers"},
		"UMask": {func(b *builder, v string) error {
			mask, err := octal(v)
			b.unit.Service.Process.UMask = &mask
			return err
		}, "0022 when absent"},
		"Nice": {func(b *builder, v string) error {
			n, err := integer(v, -20, 19)
			b.unit.Service.Process.Nice = &n
			return err
		}, "-20 to 19"},
		"OOMScoreAdjust": {func(b *builder, v string) error {
			n, err := integer(v, -1000, 1000)
			b.unit.Service.Process.OOMScore = &n
			return err
		}, "-1000 to 1000"},
		"NoNewPrivileges":  {flag(func(b *builder, yes bool) { b.unit.Service.Process.NoNewPrivs = yes }), "no program it calls gains privileges"},
		"StandardInput":    {func(_ *builder, v string) error { return oneOf(v, "null") }, "null"},
		"StandardOutput":   {func(b *builder, v string) error { return b.output(&b.unit.Service.Process.Stdout, v) }, "journal, kmsg, inherit, null, file:, append: or truncate:; the first three are the machine's log"},
		"StandardError":    {func(b *builder, v string) error { return b.output(&b.unit.Service.Process.Stderr, v) }, "the same; inherit is StandardOutput's"},
		"SyslogIdentifier": {func(b *builder, v string) (err error) { b.unit.Service.Process.LogName, err = b.expand(v); return err }, "the name before its lines, instead of the unit's"},
		"Delegate":         {flag(func(*builder, bool) {}), "accepted: groups below the service's are its own anyway"},
		"RuntimeDirectoryPreserve": {func(b *builder, v string) error {
			b.preserve = v
			return oneOf(v, "no", "yes", "restart")
		}, "no, yes or restart"},
	}, folders(), limitDirectives()),
	"Timer": {
		"OnActiveSec":        {timerSpans(func(t *Timer) *[]time.Duration { return &t.Active }), "since the timer was started"},
		"OnBootSec":          {timerSpans(func(t *Timer) *[]time.Duration { return &t.Boot }), "since the machine was started"},
		"OnStartupSec":       {timerSpans(func(t *Timer) *[]time.Duration { return &t.Boot }), "the same: process 1 starts with the machine"},
		"OnUnitActiveSec":    {timerSpans(func(t *Timer) *[]time.Duration { return &t.UnitActive }), "since the service was started last"},
		"OnUnitInactiveSec":  {timerSpans(func(t *Timer) *[]time.Duration { return &t.UnitInactive }), "since the service has ended last"},
		"OnCalendar":         {onCalendar, "a calendar event of systemd.time(7)"},
		"AccuracySec":        {func(_ *builder, v string) error { _, err := systime.Span(v); return err }, "accepted: a timer is never late on purpose"},
		"RandomizedDelaySec": {func(b *builder, v string) (err error) { b.unit.Timer.RandomDelay, err = systime.Span(v); return err }, "up to that much later"},
		"Persistent":         {flag(func(b *builder, yes bool) { b.unit.Timer.Persistent = yes }), "an OnCalendar= that was missed is made up for at once"},
		"RemainAfterElapse":  {func(_ *builder, v string) error { return oneOf(v, "yes", "true") }, "yes only: a timer stays"},
		"Unit":               {timerUnit, "the service; that of the timer's name when absent"},
	},
	"Install": {
		"WantedBy":        {installed(func(i *Install) *[]string { return &i.WantedBy }), "units that want it once it is enabled"},
		"RequiredBy":      {installed(func(i *Install) *[]string { return &i.RequiredBy }), "units that require it once it is enabled"},
		"Alias":           {installed(func(i *Install) *[]string { return &i.Alias }), "other names once it is enabled"},
		"Also":            {installed(func(i *Install) *[]string { return &i.Also }), "units that are enabled with it"},
		"DefaultInstance": {func(b *builder, v string) (err error) { b.unit.Install.DefaultInstance, err = b.expand(v); return err }, "of a template that is enabled without an instance"},
	},
}

func nothing(*builder, string) error { return nil }

func merged(maps ...map[string]directive) map[string]directive {
	all := map[string]directive{}
	for _, m := range maps {
		for name, d := range m {
			all[name] = d
		}
	}
	return all
}

func flag(set func(b *builder, yes bool)) func(*builder, string) error {
	return func(b *builder, v string) error {
		yes, err := boolean(v)
		set(b, yes)
		return err
	}
}

// names reads names of units; an empty line forgets those before it.
func names(of func(*Unit) *[]string) func(*builder, string) error {
	return func(b *builder, v string) error {
		words, err := b.words(v)
		if err != nil {
			return err
		}
		list := of(b.unit)
		if v == "" {
			*list = nil
		}
		*list = append(*list, words...)
		return nil
	}
}

// pulls are names of units that are started.
func pulls(of func(*Unit) *[]string, required bool) func(*builder, string) error {
	set := names(of)
	return func(b *builder, v string) error {
		before := slices.Clone(*of(b.unit))
		if err := set(b, v); err != nil {
			return err
		}
		for _, name := range (*of(b.unit))[min(len(before), len(*of(b.unit))):] {
			if err := checkName(name); err != nil && required {
				return err
			}
			b.unit.pulls = append(b.unit.pulls, pull{name, required, b.at})
		}
		return nil
	}
}

// ends are targets that a machine reaches at its end.
var ends = []string{"shutdown.target", "umount.target", "reboot.target", "poweroff.target", "halt.target", "final.target", "kexec.target", "rescue.target", "emergency.target"}

func conflicts(b *builder, v string) error {
	words, err := b.words(v)
	for _, w := range words {
		if !slices.Contains(ends, w) {
			return fmt.Errorf("%.60q is outside the subset: services do not stop one another", w)
		}
	}
	return err
}

func conditions(prefix, means string) map[string]directive {
	all := map[string]directive{}
	for kind := range tests {
		all[prefix+kind] = directive{func(b *builder, v string) error {
			list := &b.conditions
			if prefix == "Assert" {
				list = &b.asserts
			}
			return b.condition(list, kind, v)
		}, means}
	}
	return all
}

func kind(b *builder, v string) error {
	b.kind = v
	switch v {
	case "forking":
		return fmt.Errorf("forking is outside the subset: let the program stay in the foreground")
	case "dbus":
		return fmt.Errorf("dbus is outside the subset: there is no D-Bus")
	}
	return oneOf(v, supervise.Simple, supervise.Exec, supervise.Oneshot, supervise.Notify)
}

func execs(of func(*builder) *[]supervise.Command) func(*builder, string) error {
	return func(b *builder, v string) error {
		list := of(b)
		if v == "" {
			*list = nil
			return nil
		}
		commands, err := b.commands(v)
		*list = append(*list, commands...)
		return err
	}
}

func restart(b *builder, v string) error {
	b.unit.Service.Restart = v
	return oneOf(v, "no", "always", "on-success", "on-failure", "on-abnormal", "on-abort")
}

func notifyAccess(b *builder, v string) error {
	b.unit.Service.NotifyAccess = v
	return oneOf(v, "none", "main", "all")
}

func killMode(b *builder, v string) error {
	b.unit.Service.Kill.Mode = v
	return oneOf(v, "control-group", "mixed", "process", "none")
}

// list adds words; an empty line forgets those before it.
func (b *builder) list(to *[]string, v string) error {
	words, err := b.words(v)
	if v == "" {
		*to = nil
	}
	*to = append(*to, words...)
	return err
}

func environment(b *builder, v string) error {
	words, err := b.words(v)
	if err != nil {
		return err
	}
	env := &b.unit.Service.Process.Env
	if v == "" {
		*env = nil
	}
	for _, w := range words {
		name, _, assigns := strings.Cut(w, "=")
		if !assigns || !isVariable(name) {
			return fmt.Errorf("a word is not NAME=VALUE")
		}
		*env = append(*env, w)
	}
	return nil
}

func isVariable(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == "" && (name[0] < '0' || name[0] > '9')
}

func environmentFile(b *builder, v string) (err error) {
	files := &b.unit.Service.Process.EnvFiles
	if v == "" {
		*files = nil
		return nil
	}
	v, optional := strings.CutPrefix(v, "-")
	if v, err = b.expand(v); err != nil {
		return err
	}
	if strings.ContainsAny(v, "*?[") {
		return fmt.Errorf("wildcards are outside the subset: name each file")
	}
	v, err = absolute(v)
	*files = append(*files, supervise.EnvFile{Path: v, Optional: optional})
	return err
}

func workingDirectory(b *builder, v string) (err error) {
	p := &b.unit.Service.Process
	v, p.DirOptional = strings.CutPrefix(v, "-")
	if p.Dir, err = b.expand(v); err != nil || p.Dir == "~" || v == "" {
		return err
	}
	p.Dir, err = absolute(p.Dir)
	return err
}

// account is the name or number of a user or group.
func (b *builder) account(v string) (string, error) {
	v, err := b.expand(v)
	if err == nil && (strings.ContainsAny(v, " :/\t") || strings.HasPrefix(v, "-")) {
		err = fmt.Errorf("is no name of an account")
	}
	return v, err
}

func (b *builder) output(o *supervise.Output, v string) (err error) {
	*o = supervise.Output{}
	kind, path, toFile := strings.Cut(v, ":")
	switch {
	case toFile && slices.Contains([]string{supervise.ToFile, supervise.ToAppend, supervise.ToFresh}, kind):
		if path, err = b.expand(path); err != nil {
			return err
		}
		o.Kind = kind
		o.Path, err = absolute(path)
		return err
	case v == "null":
		o.Kind = supervise.ToNull
		return nil
	}
	return oneOf(v, "journal", "kmsg", "inherit", "null", "file:PATH", "append:PATH", "truncate:PATH")
}

func folders() map[string]directive {
	all := map[string]directive{}
	for kind, root := range folderRoots {
		all[kind+"Directory"] = directive{func(b *builder, v string) error {
			var words []string
			err := b.list(&words, v)
			for _, w := range words {
				if strings.HasPrefix(w, "/") || strings.Contains(w, ":") || slices.Contains(strings.Split(w, "/"), "..") {
					return fmt.Errorf("a word is no path below %s", root)
				}
			}
			f := b.folder(kind)
			if v == "" {
				f.names = nil
			}
			f.names = append(f.names, words...)
			return err
		}, "folders below " + root + ", the service's own"}
		all[kind+"DirectoryMode"] = directive{func(b *builder, v string) error {
			mode, err := octal(v)
			b.folder(kind).mode = os.FileMode(mode & 0o777)
			return err
		}, "0755 when absent"}
	}
	return all
}

func limitDirectives() map[string]directive {
	all := map[string]directive{}
	for name := range limits {
		all["Limit"+name] = directive{func(b *builder, v string) error {
			l, err := limit(name, v)
			p := &b.unit.Service.Process
			p.Limits = slices.DeleteFunc(p.Limits, func(o supervise.Limit) bool { return o.Resource == l.Resource })
			p.Limits = append(p.Limits, l)
			return err
		}, "a number, SOFT:HARD or infinity"}
	}
	return all
}

func timerSpans(of func(*Timer) *[]time.Duration) func(*builder, string) error {
	return func(b *builder, v string) error {
		list := of(b.unit.Timer)
		if v == "" {
			*list = nil
			return nil
		}
		d, err := systime.Span(v)
		*list = append(*list, d)
		return err
	}
}

func onCalendar(b *builder, v string) error {
	t := b.unit.Timer
	if v == "" {
		t.Calendar = nil
		return nil
	}
	v, err := b.expand(v)
	if err != nil {
		return err
	}
	c, err := systime.ParseCalendar(v)
	if err == nil {
		t.Calendar = append(t.Calendar, c)
	}
	return err
}

func timerUnit(b *builder, v string) (err error) {
	if v, err = b.expand(v); err != nil {
		return err
	}
	b.unit.Timer.Unit = v
	if !strings.HasSuffix(v, ".service") && !strings.HasSuffix(v, ".target") {
		return fmt.Errorf("%.60q is no name of a service", v)
	}
	return checkName(v)
}

func installed(of func(*Install) *[]string) func(*builder, string) error {
	return func(b *builder, v string) error { return b.list(of(&b.unit.Install), v) }
}
