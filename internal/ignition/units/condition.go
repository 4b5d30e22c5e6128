package units

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A condition is one ConditionX= or AssertX= line.
type condition struct {
	kind, param     string
	negate, trigger bool
}

// tests say whether a condition holds.
var tests = map[string]func(h Host, param string) bool{
	"PathExists":         func(_ Host, p string) bool { _, err := os.Stat(p); return err == nil },
	"PathExistsGlob":     func(_ Host, p string) bool { found, _ := filepath.Glob(p); return len(found) > 0 },
	"PathIsDirectory":    func(_ Host, p string) bool { i, err := os.Stat(p); return err == nil && i.IsDir() },
	"PathIsSymbolicLink": func(_ Host, p string) bool { i, err := os.Lstat(p); return err == nil && i.Mode()&os.ModeSymlink != 0 },
	"PathIsMountPoint":   func(_ Host, p string) bool { return mountPoint(p) },
	"PathIsReadWrite": func(_ Host, p string) bool {
		return unix.Access(p, unix.F_OK) == nil && unix.Access(p, unix.W_OK) != unix.EROFS
	},
	"DirectoryNotEmpty": func(_ Host, p string) bool { list, err := os.ReadDir(p); return err == nil && len(list) > 0 },
	"FileNotEmpty": func(_ Host, p string) bool {
		i, err := os.Stat(p)
		return err == nil && i.Mode().IsRegular() && i.Size() > 0
	},
	"FileIsExecutable": func(_ Host, p string) bool {
		i, err := os.Stat(p)
		return err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0
	},
	"KernelCommandLine": func(h Host, p string) bool {
		return slices.ContainsFunc(strings.Fields(h.CommandLine), func(w string) bool {
			name, _, _ := strings.Cut(w, "=")
			return w == p || name == p && !strings.Contains(p, "=")
		})
	},
	"Architecture": func(_ Host, p string) bool { return p == architectures[runtime.GOARCH] || p == "native" },
	"ACPower":      func(_ Host, p string) bool { want, _ := boolean(p); return onPower("/sys/class/power_supply") == want },
	"Capability":   func(_ Host, p string) bool { return capable(p) },
	"FirstBoot":    func(h Host, p string) bool { want, _ := boolean(p); return h.FirstBoot == want },
	"Host": func(h Host, p string) bool {
		ok, err := filepath.Match(p, h.Name)
		return p == h.MachineID || err == nil && ok
	},
}

// onPower says whether a machine has power from outside: as far as is known,
// unless all that could give it are off or a battery empties itself
// (systemd.unit(5), ConditionACPower=).
func onPower(dir string) bool {
	supplies, _ := os.ReadDir(dir) // a machine without any has none
	says := func(supply, file string) string {
		raw, _ := os.ReadFile(filepath.Join(dir, supply, file))
		return strings.TrimSpace(string(raw))
	}
	var off bool
	for _, s := range supplies {
		switch kind := says(s.Name(), "type"); {
		case says(s.Name(), "scope") == "Device": // a mouse's
		case kind == "Battery":
			off = off || says(s.Name(), "status") == "Discharging"
		case says(s.Name(), "online") == "1":
			return true
		case says(s.Name(), "online") == "0":
			off = true
		}
	}
	return !off
}

func mountPoint(p string) bool {
	var at, above unix.Stat_t
	return unix.Lstat(p, &at) == nil && unix.Lstat(filepath.Dir(p), &above) == nil && (at.Dev != above.Dev || at.Ino == above.Ino)
}

// unmet makes the function that says why conditions do not hold: all must, and
// of those with | one.
func unmet(list []condition, h Host) func() string {
	if len(list) == 0 {
		return nil
	}
	return func() string {
		triggers, triggered := 0, false
		for _, c := range list {
			holds := tests[c.kind](h, c.param) != c.negate
			switch {
			case c.trigger:
				triggers++
				triggered = triggered || holds
			case !holds:
				return c.kind + " does not hold"
			}
		}
		if triggers > 0 && !triggered {
			return "none of the conditions with | holds"
		}
		return ""
	}
}

// condition reads one; an empty one forgets all before it.
func (b *builder) condition(list *[]condition, kind, v string) (err error) {
	if v == "" {
		*list = nil
		return nil
	}
	c := condition{kind: kind}
	c.trigger = strings.HasPrefix(v, "|")
	v = strings.TrimSpace(strings.TrimPrefix(v, "|"))
	c.negate = strings.HasPrefix(v, "!")
	v = strings.TrimSpace(strings.TrimPrefix(v, "!"))
	if c.param, err = b.expand(v); err != nil {
		return err
	}
	switch kind {
	case "KernelCommandLine", "Architecture", "Host":
	case "Capability":
		if _, ok := capabilityNames[strings.ToUpper(c.param)]; !ok {
			err = fmt.Errorf("%.40q is no capability", c.param)
		}
	case "FirstBoot", "ACPower":
		_, err = boolean(c.param)
	default:
		c.param, err = absolute(c.param)
	}
	*list = append(*list, c)
	return err
}
