package units

import (
	"math"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/supervise"
)

// of is the process of a service with these lines.
func of(t *testing.T, lines string) supervise.Process {
	t.Helper()
	set := load(t, map[string]string{etc + "a.service": "[Service]\nExecStart=/bin/a\n" + lines, etc + "multi-user.target.wants/a.service": "-> ../a.service"})
	return set.Units["a.service"].Service.Process
}

func TestASandboxIsRead(t *testing.T) {
	p := of(t, "User=nobody\nStateDirectory=a\nPrivateTmp=true\nPrivateDevices=on\nProtectSystem=strict\nProtectHome=read-only\nProtectKernelModules=yes\nProtectControlGroups=no\nPrivateNetwork=false\n"+
		"ReadWritePaths=-/srv/a /srv/b\nReadOnlyPaths=/gone\nReadOnlyPaths=\nInaccessiblePaths=/srv/b/c\nProtectProc=invisible\nProcSubset=pid\n")
	want := []supervise.Access{
		{Path: "/usr/lib/modules", Mode: "hidden", Optional: true}, {Path: "/lib/modules", Mode: "hidden", Optional: true},
		{Path: "/home", Mode: "ro", Optional: true}, {Path: "/root", Mode: "ro", Optional: true}, {Path: "/run/user", Mode: "ro", Optional: true},
		{Path: "/", Mode: "ro", Optional: true}, {Path: "/dev", Mode: "rw", Optional: true}, {Path: "/proc", Mode: "rw", Optional: true}, {Path: "/sys", Mode: "rw", Optional: true},
		{Path: "/srv/b/c", Mode: "hidden"}, {Path: "/srv/a", Mode: "rw", Optional: true}, {Path: "/srv/b", Mode: "rw"}, {Path: "/var/lib/a", Mode: "rw"},
	}
	s := p.Sandbox
	if !slices.Equal(s.Access, want) || !s.PrivateTmp || !s.PrivateDevices || s.Proc != "hidepid=invisible,subset=pid" || s.Dropped != 1<<unix.CAP_MKNOD|1<<unix.CAP_SYS_RAWIO|1<<unix.CAP_SYS_MODULE {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if !s.NoGain {
		t.Error("another user's service may gain privileges though its devices are private")
	}
	if p := of(t, "User=nobody\nPrivateDevices=yes\nNoNewPrivileges=no\n"); !p.Sandbox.NoGain {
		t.Error("it may gain privileges because it says so")
	}
	if p := of(t, "User=nobody\nNoNewPrivileges=no\nLockPersonality=yes\n"); !p.Sandbox.NoGain {
		t.Error("it may gain privileges because it says so, in spite of a filter")
	}
}

// Paths and modes of systemd's namespace.c.
func TestProtectionsNameWhatTheyProtect(t *testing.T) {
	for lines, want := range map[string]map[string]string{
		"ProtectKernelTunables=yes\n": {"/sys": "ro", "/sys/fs/cgroup": "rw", "/proc/sys": "ro", "/proc/kallsyms": "hidden", "/proc/kcore": "hidden", "/proc/mtrr": "ro",
			"/proc/bus": "ro", "/proc/scsi": "ro", "/proc/asound": "ro", "/proc/apm": "ro"},
		"ProtectHostname=yes\n":   {"/proc/sys/kernel/hostname": "ro", "/proc/sys/kernel/domainname": "ro"},
		"ProtectKernelLogs=yes\n": {"/proc/kmsg": "hidden", "/dev/kmsg": "hidden"},
	} {
		got := map[string]string{}
		for _, a := range of(t, lines).Sandbox.Access {
			got[a.Path] = a.Mode
		}
		for path, mode := range want {
			if got[path] != mode {
				t.Errorf("%q: %s is %q, want %q", lines, path, got[path], mode)
			}
		}
	}
	if c := of(t, "ProtectKernelLogs=yes\nProtectHostname=yes\nPrivateDevices=yes\n").Sandbox.Calls; !c.NoSyslog || !c.NoHostname || !c.NoPorts {
		t.Errorf("got %+v, want no call that reads the log, sets the name or opens ports", c)
	}
}

// Of the page of systemd.exec(5), RestrictNamespaces= and RestrictAddressFamilies=.
func TestFiltersAddUp(t *testing.T) {
	const ipc, net, user, uts = unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWUSER, unix.CLONE_NEWUTS
	const all = unix.CLONE_NEWCGROUP | ipc | net | unix.CLONE_NEWNS | unix.CLONE_NEWPID | user | uts
	for lines, want := range map[string]uint32{
		"": 0, "RestrictNamespaces=yes\n": all, "RestrictNamespaces=ipc\nRestrictNamespaces=net\n": all &^ (ipc | net), "RestrictNamespaces=~user uts\n": user | uts,
		"RestrictNamespaces=ipc net\nRestrictNamespaces=~net\n": all &^ ipc, "RestrictNamespaces=yes\nRestrictNamespaces=\n": 0,
		"RestrictNamespaces=yes\nRestrictNamespaces=~user\n": all, "RestrictNamespaces=yes\nRestrictNamespaces=net\n": all &^ net, "RestrictNamespaces=no\nRestrictNamespaces=~user\n": user,
		"RestrictNamespaces=no\nRestrictNamespaces=net\n": 0, "RestrictNamespaces=yes\nRestrictNamespaces=\nRestrictNamespaces=~user\n": user,
	} {
		if got := of(t, lines).Sandbox.Calls.NoNamespaces; got != want {
			t.Errorf("%q: got %#x, want %#x", lines, got, want)
		}
	}
	for lines, want := range map[string]supervise.Families{
		"RestrictAddressFamilies=AF_UNIX AF_INET\nRestrictAddressFamilies=~AF_INET\n": {Numbers: []uint32{unix.AF_UNIX}}, "RestrictAddressFamilies=none\n": {},
		"RestrictAddressFamilies=~AF_PACKET AF_ALG\nRestrictAddressFamilies=AF_ALG\n": {Numbers: []uint32{unix.AF_PACKET}, Except: true},
	} {
		if got := of(t, lines).Sandbox.Calls.Families; got == nil || !slices.Equal(got.Numbers, want.Numbers) || got.Except != want.Except {
			t.Errorf("%q: got %+v, want %+v", lines, got, want)
		}
	}
	p := of(t, "User=nobody\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nProtectHostname=yes\nSystemCallArchitectures=native\n")
	if want := (supervise.Calls{NoRealtime: true, NoPersonality: true, NoWriteExecute: true, NoSUID: true, NoHostname: true, NativeOnly: true}); p.Sandbox.Calls != want || !p.Sandbox.NoGain {
		t.Errorf("got %+v, want %+v", p.Sandbox.Calls, want)
	}
}

// Of the page of systemd.exec(5), CapabilityBoundingSet=.
func TestCapabilitiesAddUp(t *testing.T) {
	const a, b = 1 << unix.CAP_CHOWN, 1 << unix.CAP_KILL
	for lines, want := range map[string]uint64{
		"": math.MaxUint64, "CapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=cap_kill\n": a | b, "CapabilityBoundingSet=CAP_CHOWN CAP_KILL\nCapabilityBoundingSet=~CAP_KILL\n": a,
		"CapabilityBoundingSet=~CAP_CHOWN\n": ^uint64(a), "CapabilityBoundingSet=\n": 0, "CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=~\n": math.MaxUint64,
		"CapabilityBoundingSet=~\nCapabilityBoundingSet=CAP_CHOWN\n": a, "CapabilityBoundingSet=\nCapabilityBoundingSet=~CAP_KILL\n": 0, "CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_KILL\n": b,
	} {
		if got := ^of(t, lines).Sandbox.Dropped; got != want {
			t.Errorf("%q: got %#x, want %#x", lines, got, want)
		}
	}
	for lines, want := range map[string]uint64{"": 0, "AmbientCapabilities=CAP_CHOWN\nAmbientCapabilities=CAP_KILL\n": a | b, "AmbientCapabilities=\nAmbientCapabilities=~CAP_KILL\n": known &^ b,
		"AmbientCapabilities=CAP_CHOWN\nAmbientCapabilities=\n": 0} {
		if got := of(t, lines).Sandbox.Ambient; got != want {
			t.Errorf("%q: got %#x, want %#x", lines, got, want)
		}
	}
}

func TestPrefixesSayWhoRunsACommand(t *testing.T) {
	set := load(t, map[string]string{etc + "multi-user.target.wants/a.service": "-> ../a.service",
		etc + "a.service": "[Service]\nUser=nobody\nExecStartPre=!/bin/a\nExecStartPre=-!!/bin/b\nExecStartPre=+/bin/c\nExecStart=/bin/d\n"})
	for i, want := range []supervise.Command{{Elevated: true}, {IgnoreFailure: true}, {Privileged: true}} {
		got := set.Units["a.service"].Service.StartPre[i]
		if got.Elevated != want.Elevated || got.IgnoreFailure != want.IgnoreFailure || got.Privileged != want.Privileged {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
