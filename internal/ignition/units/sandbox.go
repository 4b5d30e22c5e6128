package units

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/supervise"
)

// A protection is what a unit says of its sandbox.
type protection struct {
	home, system string
	proc, subset string          // ProtectProc=, ProcSubset=
	on           map[string]bool // directives that are yes or no
	paths        map[string][]supervise.Access
	bounding     uint64
	ambient      uint64
	calls        supervise.Calls
	namespaces   *uint32 // that RestrictNamespaces= allows; nil: it is not given
}

// A protect is a directive that is yes or no.
type protect struct {
	access  []supervise.Access
	dropped []int
	means   string
	// noGain also implies NoNewPrivileges for a service of another user, even one
	// that says no (systemd.exec(5), NoNewPrivileges=).
	noGain bool
}

func optional(mode string, paths ...string) (list []supervise.Access) {
	for _, p := range paths {
		list = append(list, supervise.Access{Path: p, Mode: mode, Optional: true})
	}
	return list
}

// tunables are systemd's for ProtectKernelTunables= (namespace.c): what is below
// a folder that is read-only is so, too.
var tunables = slices.Concat(
	optional(supervise.ReadOnly, "/proc/acpi", "/proc/apm", "/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/latency_stats", "/proc/mtrr", "/proc/scsi",
		"/proc/sys", "/proc/sysrq-trigger", "/proc/timer_stats", "/sys"),
	optional(supervise.Hidden, "/proc/kallsyms", "/proc/kcore"),
	optional(supervise.ReadWrite, "/sys/fs/cgroup", "/sys/fs/selinux"))

var protects = map[string]protect{
	"PrivateTmp":            {nil, nil, "/tmp and /var/tmp of its own, for one start", false},
	"PrivateDevices":        {nil, []int{unix.CAP_MKNOD, unix.CAP_SYS_RAWIO}, "a /dev without hardware, read-only; without CAP_MKNOD, CAP_SYS_RAWIO and the calls for ports. No list of devices holds it: root gets past it to the machine's /dev by CAP_SYS_PTRACE or CAP_SYS_ADMIN", true},
	"ProtectKernelTunables": {tunables, nil, "/sys, but for /sys/fs/cgroup and /sys/fs/selinux, and what is set in /proc are read-only; /proc/kallsyms and /proc/kcore are hidden", true},
	"ProtectKernelModules":  {optional(supervise.Hidden, "/usr/lib/modules", "/lib/modules"), []int{unix.CAP_SYS_MODULE}, "modules are hidden; without CAP_SYS_MODULE", true},
	"ProtectKernelLogs":     {optional(supervise.Hidden, "/proc/kmsg", "/dev/kmsg"), []int{unix.CAP_SYSLOG}, "the kernel's log is hidden; without CAP_SYSLOG and the call syslog", true},
	"ProtectControlGroups":  {optional(supervise.ReadOnly, "/sys/fs/cgroup"), nil, "/sys/fs/cgroup is read-only", false},
	"ProtectHostname":       {optional(supervise.ReadOnly, "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"), nil, "it cannot set the host's name", true},
	"ProtectClock":          {nil, []int{unix.CAP_SYS_TIME, unix.CAP_WAKE_ALARM}, "without CAP_SYS_TIME and CAP_WAKE_ALARM", true},
}

// unprotected are directives of which only the default is in the subset.
var unprotected = []string{"PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivateUsers", "RemoveIPC"}

func sandboxes() map[string]directive {
	all := map[string]directive{
		"ProtectHome":   {func(b *builder, v string) error { return choice(&b.protection.home, v, "read-only", "tmpfs") }, "no, yes, read-only or tmpfs: /home, /root and /run/user"},
		"ProtectSystem": {func(b *builder, v string) error { return choice(&b.protection.system, v, "full", "strict") }, "no, yes, full or strict: /usr and /boot, with /etc, or all but /dev, /proc and /sys are read-only"},
		"ProtectProc": {func(b *builder, v string) error {
			b.protection.proc = v
			return oneOf(v, slices.Sorted(maps.Keys(procs))...)
		}, "default, invisible, ptraceable or noaccess: processes of other users in /proc"},
		"ProcSubset":            {func(b *builder, v string) error { b.protection.subset = v; return oneOf(v, "all", "pid") }, "all or pid: what of /proc is there"},
		"CapabilityBoundingSet": {func(b *builder, v string) error { return capabilities(&b.protection.bounding, math.MaxUint64, v) }, "capabilities, ~ before them for all others"},
		"AmbientCapabilities":   {func(b *builder, v string) error { return capabilities(&b.protection.ambient, 0, v) }, "those that it keeps as another user"},
	}
	for name, p := range protects {
		all[name] = directive{flag(func(b *builder, yes bool) { b.protection.on[name] = yes }), p.means}
	}
	for _, name := range unprotected {
		all[name] = directive{func(_ *builder, v string) error {
			if yes, err := boolean(v); err != nil || yes {
				return fmt.Errorf("is outside the subset but for no: see docs/formats/units.md")
			}
			return nil
		}, "no only"}
	}
	for name, d := range filters() {
		all[name] = d
	}
	for mode, names := range map[string][2]string{supervise.ReadWrite: {"ReadWritePaths", "ReadWriteDirectories"}, supervise.ReadOnly: {"ReadOnlyPaths", "ReadOnlyDirectories"},
		supervise.Hidden: {"InaccessiblePaths", "InaccessibleDirectories"}} {
		for _, name := range names {
			all[name] = directive{func(b *builder, v string) error { return b.access(mode, v) }, "absolute paths that are " + adjectives[mode] + ", - before one that may be absent; of two the longer counts"}
		}
	}
	return all
}

var adjectives = map[string]string{supervise.ReadWrite: "writable", supervise.ReadOnly: "read-only", supervise.Hidden: "hidden"}

// choice is yes, no or a word.
func choice(to *string, v string, words ...string) error {
	if *to = v; slices.Contains(words, v) {
		return nil
	}
	yes, err := boolean(v)
	if err != nil {
		return oneOf(v, append([]string{"yes", "no"}, words...)...)
	}
	if *to = "no"; yes {
		*to = "yes"
	}
	return nil
}

// access reads paths; an empty line forgets those before it.
func (b *builder) access(mode, v string) error {
	words, err := b.words(v)
	if err != nil {
		return err
	}
	if v == "" {
		b.protection.paths[mode] = nil
	}
	for _, w := range words {
		w, optional := strings.CutPrefix(w, "-")
		if w, err = absolute(strings.TrimPrefix(w, "+")); err != nil { // + is for another root, which there is none of
			return fmt.Errorf("a word %w", err)
		}
		b.protection.paths[mode] = append(b.protection.paths[mode], supervise.Access{Path: w, Mode: mode, Optional: optional})
	}
	return nil
}

// capabilities adds to a set, or takes from it; a line takes the place of what
// is when nothing is said, and one without names of all before it (systemd.exec(5),
// CapabilityBoundingSet=).
func capabilities(set *uint64, unsaid uint64, v string) error {
	v, invert := strings.CutPrefix(v, "~")
	var sum uint64
	for word := range strings.FieldsSeq(v) {
		n, ok := capabilityNames[strings.ToUpper(word)]
		if !ok {
			return fmt.Errorf("%.40q is no capability", word)
		}
		sum |= 1 << n
	}
	switch {
	case sum == 0 || *set == unsaid:
		if *set = sum; invert {
			*set = ^sum
		}
	case invert:
		*set &^= sum
	default:
		*set |= sum
	}
	return nil
}

// homes and systems are what ProtectHome= and ProtectSystem= say.
var (
	homes   = map[string]string{"yes": supervise.Hidden, "read-only": supervise.ReadOnly, "tmpfs": supervise.Empty}
	systems = map[string][]string{"yes": {"/usr", "/boot", "/efi"}, "full": {"/usr", "/boot", "/efi", "/etc"}, "strict": {"/"}}
	procs   = map[string]string{"default": "", "invisible": "hidepid=invisible", "ptraceable": "hidepid=ptraceable", "noaccess": "hidepid=noaccess"}
)

// sandbox is what all of it comes to.
func (b *builder) sandbox() (s supervise.Sandbox) {
	p, process := b.protection, &b.unit.Service.Process
	for _, name := range slices.Sorted(maps.Keys(protects)) {
		if !p.on[name] {
			continue
		}
		s.Access = append(s.Access, protects[name].access...)
		for _, c := range protects[name].dropped {
			s.Dropped |= 1 << c
		}
		s.NoGain = s.NoGain || protects[name].noGain
	}
	s.Calls = p.calls
	s.Calls.NoHostname, s.Calls.NoSyslog, s.Calls.NoPorts = p.on["ProtectHostname"], p.on["ProtectKernelLogs"], p.on["PrivateDevices"]
	s.NoGain = s.NoGain || p.calls.InUse()
	s.PrivateTmp, s.PrivateDevices = p.on["PrivateTmp"], p.on["PrivateDevices"]
	if mode := homes[p.home]; mode != "" {
		s.Access = append(s.Access, optional(mode, "/home", "/root", "/run/user")...)
	}
	s.Access = append(s.Access, optional(supervise.ReadOnly, systems[p.system]...)...)
	if p.system == "strict" {
		s.Access = append(s.Access, optional(supervise.ReadWrite, "/dev", "/proc", "/sys")...)
	}
	for _, mode := range []string{supervise.ReadOnly, supervise.Hidden, supervise.ReadWrite} {
		s.Access = append(s.Access, p.paths[mode]...)
	}
	if len(s.Access) > 0 {
		for _, f := range process.Folders {
			s.Access = append(s.Access, supervise.Access{Path: f.Path, Mode: supervise.ReadWrite})
		}
	}
	s.Dropped |= ^p.bounding
	s.Ambient = p.ambient & known
	s.Proc = strings.Trim(procs[p.proc]+","+map[string]string{"pid": "subset=pid"}[p.subset], ",")
	return s
}
