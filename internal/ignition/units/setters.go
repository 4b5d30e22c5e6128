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

const (
	byHand = "accepted: nobody starts or stops units by hand"
	older  = "the older place, for that in [Unit]"
)

func startInterval(b *builder, v string) (err error) {
	b.unit.Service.StartInterval, err = systime.Span(v)
	return err
}

func startBurst(b *builder, v string) (err error) {
	b.unit.Service.StartLimit, err = integer(v, 0, math.MaxInt32)
	return err
}

// ends are targets that a machine reaches at its end.
var ends = []string{"shutdown.target", "umount.target", "reboot.target", "poweroff.target", "halt.target", "final.target", "kexec.target", "rescue.target", "emergency.target"}

func conflicts(b *builder, v string) error {
	words, err := b.words(v)
	for _, w := range words {
		if !slices.Contains(ends, w) {
			b.unit.conflicts = append(b.unit.conflicts, pull{name: w, at: b.at})
		}
	}
	if v == "" {
		b.unit.conflicts = nil
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
	case "dbus":
		return fmt.Errorf("dbus is outside the subset: there is no D-Bus")
	}
	return oneOf(v, supervise.Simple, supervise.Exec, supervise.Oneshot, supervise.Notify, supervise.Forking)
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
