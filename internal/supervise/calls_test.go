package supervise

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// probes are calls that filters are about; none does harm where it is allowed.
var probes = []struct {
	name string
	call func() error
}{
	{"socket inet", func() error { return socket(unix.AF_INET) }},
	{"socket unix", func() error { return socket(unix.AF_UNIX) }},
	{"socket netlink", func() error { return socket(unix.AF_NETLINK) }},
	{"realtime", func() error { return raw(unix.SYS_SCHED_SETSCHEDULER, 0, 1, 0) }}, // EFAULT when it is allowed
	{"batch", func() error { return raw(unix.SYS_SCHED_SETSCHEDULER, 0, 3, 0) }},
	{"personality asked for", func() error { return raw(unix.SYS_PERSONALITY, 0xffffffff, 0, 0) }},
	{"personality", func() error { return raw(unix.SYS_PERSONALITY, 0x0008, 0, 0) }},
	{"write and execute", func() error { return mapped(unix.PROT_WRITE | unix.PROT_EXEC) }},
	{"write", func() error { return mapped(unix.PROT_WRITE) }},
	{"set-group-ID", func() error { return made(0o2755) }},
	{"created set-user-ID", func() error { return created(unix.O_CREAT, 0o4755) }},
	{"created", func() error { return created(unix.O_CREAT, 0o755) }},
	{"opened with any mode", func() error { return created(0, 0o4755) }},
	{"hostname", func() error { return raw(unix.SYS_SETHOSTNAME, 0, 1<<20, 0) }},      // EINVAL when it is allowed
	{"kernel's log", func() error { return raw(unix.SYS_SYSLOG, ^uintptr(0), 0, 0) }}, // EINVAL when it is allowed
	{"ports", ports},
	{"user namespace", func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER|unix.CLONE_THREAD, 0, 0) }},
	{"network namespace", func() error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0) }},
	{"any namespace", func() error { return raw(unix.SYS_SETNS, ^uintptr(0), 0, 0) }}, // EBADF when it is allowed
}

func raw(call, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(call, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

func socket(family int) error {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// ports asks for none: EINVAL or nothing when it is allowed.
func ports() error {
	var err error
	for _, call := range portCalls {
		if err = raw(call, 0, 0, 0); err != unix.EPERM {
			return err
		}
	}
	return err
}

func portsHere() []string {
	if len(portCalls) == 0 {
		return nil
	}
	return []string{"ports"}
}

func mapped(protection int) error {
	m, err := unix.Mmap(-1, 0, 4096, protection, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err == nil {
		_ = unix.Munmap(m)
	}
	return err
}

func made(mode uint32) error {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return unix.Fchmodat(unix.AT_FDCWD, dir, mode, 0)
}

func created(flags int, mode uint32) error {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	at := dir
	if flags != 0 {
		at += "/f"
	}
	fd, err := unix.Openat(unix.AT_FDCWD, at, flags, mode)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// probe tells which calls were refused by a filter.
func probe() {
	for _, p := range probes {
		if err := p.call(); err == unix.EPERM || err == unix.EAFNOSUPPORT {
			fmt.Println(p.name)
		}
	}
}

func TestCallsAreRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may have filters without giving up privileges: run this as root")
	}
	all := func(kinds ...uint32) (bits uint32) {
		for _, k := range kinds {
			bits |= k
		}
		return bits
	}
	for _, c := range []struct {
		name  string
		calls Calls
		want  []string
	}{
		{"native", Calls{NativeOnly: true}, nil},
		{"families", Calls{Families: &Families{Numbers: []uint32{unix.AF_UNIX, unix.AF_INET}}}, []string{"socket netlink"}},
		{"families but for", Calls{Families: &Families{Numbers: []uint32{unix.AF_NETLINK, unix.AF_INET}, Except: true}}, []string{"socket inet", "socket netlink"}},
		{"no families", Calls{Families: &Families{}}, []string{"socket inet", "socket unix", "socket netlink"}},
		{"realtime", Calls{NoRealtime: true}, []string{"realtime"}},
		{"personality", Calls{NoPersonality: true}, []string{"personality"}},
		{"write and execute", Calls{NoWriteExecute: true}, []string{"write and execute"}},
		{"suid", Calls{NoSUID: true}, []string{"set-group-ID", "created set-user-ID"}},
		{"hostname", Calls{NoHostname: true}, []string{"hostname"}},
		{"ports", Calls{NoPorts: true}, portsHere()},
		{"syslog", Calls{NoSyslog: true}, []string{"kernel's log"}},
		{"namespaces", Calls{NoNamespaces: all(namespaces...)}, []string{"user namespace", "network namespace", "any namespace"}},
		{"one namespace", Calls{NoNamespaces: unix.CLONE_NEWUSER}, []string{"user namespace", "any namespace"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, Process: Process{Sandbox: Sandbox{Calls: c.calls}},
				Start: []Command{{Path: os.Args[0], Args: []string{os.Args[0], "probe"}, Verbatim: true}}})
			b.reaches("a", Active)
			b.end()
			var got []string
			for _, l := range b.wrote() {
				got = append(got, strings.TrimPrefix(l, "a: "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("refused %q, want %q", got, c.want)
			}
		})
	}
}
