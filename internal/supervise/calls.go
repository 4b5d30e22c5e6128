package supervise

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls are system calls that the programs of a service may not make. With any
// of them, the calls of other architectures than the machine's fail, too.
type Calls struct {
	NoRealtime, NoPersonality, NoWriteExecute, NoSUID, NoHostname, NoSyslog, NoPorts bool
	// NativeOnly ends a program that calls as of another architecture.
	NativeOnly bool
	// NoNamespaces are kinds that it may neither make nor join: CLONE_NEW….
	NoNamespaces uint32
	// Families bounds what sockets it makes; nil: any.
	Families *Families
}

// Families are numbers of address families: all that there may be, or, with
// Except, all that there may not.
type Families struct {
	Numbers []uint32
	Except  bool
}

// InUse says whether anything is refused.
func (c Calls) InUse() bool { return c != (Calls{}) }

// A denial refuses a call whose argument, masked, is one of values; with unless,
// one whose argument is none of them. Values are of 32 bits, as what they are
// used for is.
type denial struct {
	call   uintptr
	arg    int // -1: whatever they are
	mask   uint32
	values []uint32
	unless bool
	errno  unix.Errno
	// only looks at calls whose argument has these bits.
	only     uint32
	onlyArgs int
}

const whole = ^uint32(0)

// namespaces are those that systemd.exec(5), RestrictNamespaces= lists.
var namespaces = []uint32{unix.CLONE_NEWCGROUP, unix.CLONE_NEWIPC, unix.CLONE_NEWNET, unix.CLONE_NEWNS, unix.CLONE_NEWPID, unix.CLONE_NEWUSER, unix.CLONE_NEWUTS}

// denials are what systemd's filters refuse (seccomp-util.c): by errno, and what
// cannot be looked into as if the kernel did not have it.
func (c Calls) denials() (list []denial) {
	deny := func(call uintptr, arg int, mask uint32, values ...uint32) {
		list = append(list, denial{call: call, arg: arg, mask: mask, values: values, errno: unix.EPERM})
	}
	if c.NoHostname {
		deny(unix.SYS_SETHOSTNAME, -1, 0)
		deny(unix.SYS_SETDOMAINNAME, -1, 0)
	}
	if c.NoSyslog {
		deny(unix.SYS_SYSLOG, -1, 0)
	}
	if c.NoPorts {
		for _, call := range portCalls {
			deny(call, -1, 0)
		}
	}
	if c.NoRealtime {
		deny(unix.SYS_SCHED_SETSCHEDULER, 1, whole, 1, 2, 6) // SCHED_FIFO, SCHED_RR, SCHED_DEADLINE
		deny(unix.SYS_SCHED_SETSCHEDULER, 1, whole, 1<<30|1, 1<<30|2, 1<<30|6)
		deny(unix.SYS_SCHED_SETATTR, -1, 0)
	}
	if c.NoPersonality { // asking for it is allowed, and so is the usual one
		list = append(list, denial{call: unix.SYS_PERSONALITY, mask: whole, values: []uint32{0, whole}, unless: true, errno: unix.EPERM})
	}
	if c.NoWriteExecute {
		deny(unix.SYS_MMAP, 2, unix.PROT_WRITE|unix.PROT_EXEC, unix.PROT_WRITE|unix.PROT_EXEC)
		deny(unix.SYS_MPROTECT, 2, unix.PROT_EXEC, unix.PROT_EXEC)
		deny(unix.SYS_PKEY_MPROTECT, 2, unix.PROT_EXEC, unix.PROT_EXEC)
		deny(unix.SYS_SHMAT, 2, 0o100000, 0o100000) // SHM_EXEC
	}
	if c.NoSUID {
		for _, m := range modes {
			list = append(list, m.denials()...)
		}
		list = append(list, denial{call: unix.SYS_OPENAT2, arg: -1, errno: unix.ENOSYS})
	}
	if f := c.Families; f != nil {
		list = append(list, denial{call: unix.SYS_SOCKET, mask: whole, values: f.Numbers, unless: !f.Except, errno: unix.EAFNOSUPPORT})
	}
	return append(list, c.namespaces()...)
}

func (c Calls) namespaces() (list []denial) {
	if c.NoNamespaces == 0 {
		return nil
	}
	for _, kind := range namespaces {
		if c.NoNamespaces&kind == 0 {
			continue
		}
		list = append(list, denial{call: unix.SYS_CLONE, mask: kind, values: []uint32{kind}, errno: unix.EPERM},
			denial{call: unix.SYS_UNSHARE, mask: kind, values: []uint32{kind}, errno: unix.EPERM},
			denial{call: unix.SYS_SETNS, arg: 1, mask: kind, values: []uint32{kind}, errno: unix.EPERM})
	}
	return append(list, denial{call: unix.SYS_SETNS, arg: 1, mask: whole, values: []uint32{0}, errno: unix.EPERM}, // of any kind
		denial{call: unix.SYS_CLONE3, arg: -1, errno: unix.ENOSYS}) // programs try clone then
}

// modes are arguments that hold the mode of a file, as of all architectures.
var modes = append([]mode{{unix.SYS_FCHMOD, 1, always}, {unix.SYS_FCHMODAT, 2, always}, {unix.SYS_FCHMODAT2, 2, always}, {unix.SYS_MKDIRAT, 2, always}, {unix.SYS_MKNODAT, 2, always},
	{unix.SYS_OPENAT, 3, creating}}, olderModes...)

type mode struct {
	call uintptr
	arg  int
	only []uint32 // bits of the argument before it
}

func (m mode) denials() (list []denial) {
	for _, bit := range []uint32{unix.S_ISUID, unix.S_ISGID} {
		for _, only := range m.only {
			list = append(list, denial{call: m.call, arg: m.arg, mask: bit, values: []uint32{bit}, errno: unix.EPERM, only: only, onlyArgs: m.arg - 1})
		}
	}
	return list
}

// Where there is a mode: the other calls of open have anything in its place.
var (
	always   = []uint32{0}
	creating = []uint32{unix.O_CREAT, unix.O_TMPFILE &^ unix.O_DIRECTORY}
)

// Offsets in struct seccomp_data (seccomp(2)).
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// program is a filter of classic BPF. Both architectures are little-endian: the
// low half of an argument comes first.
func (c Calls) program() []unix.SockFilter {
	load := func(at int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(at)}
	}
	equal := func(value uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jt: uint8(yes), Jf: uint8(no)}
	}
	end := func(with uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: with} }
	refuse := func(errno unix.Errno) unix.SockFilter { return end(unix.SECCOMP_RET_ERRNO | uint32(errno)) }
	foreign := refuse(unix.EPERM)
	if c.NativeOnly {
		foreign = end(unix.SECCOMP_RET_KILL_PROCESS)
	}
	code := []unix.SockFilter{load(offArch), equal(native, 1, 0), foreign, load(offNumber),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: foreignFrom, Jt: 0, Jf: 1}, foreign}
	for _, d := range c.denials() {
		if d.arg < 0 {
			code = append(code, load(offNumber), equal(uint32(d.call), 0, 1), refuse(d.errno))
			continue
		}
		verdict := []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JA, K: 1}, refuse(d.errno)}
		if d.unless {
			verdict = verdict[1:]
		}
		n := len(d.values)
		and := func(mask uint32) unix.SockFilter {
			return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
		}
		rest := 2 + n + len(verdict)
		if d.only == 0 {
			code = append(code, load(offNumber), equal(uint32(d.call), 0, rest))
		} else {
			code = append(code, load(offNumber), equal(uint32(d.call), 0, 3+rest), load(offArgs+8*d.onlyArgs), and(d.only), equal(d.only, 0, rest))
		}
		code = append(code, load(offArgs+8*d.arg), and(d.mask))
		for i, value := range d.values {
			code = append(code, equal(value, n-i, 0)) // to the refusal, or behind it
		}
		code = append(code, verdict...)
	}
	return append(code, end(unix.SECCOMP_RET_ALLOW))
}

// enter puts the filter over this thread, and what it will exec.
func (c Calls) enter() error {
	if !c.InUse() {
		return nil
	}
	code := c.program()
	filter := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	// The address is taken in the call's own line: only so is what is there kept
	// in its place (unsafe.Pointer, rule 4).
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)))
	runtime.KeepAlive(code)
	if errno != 0 {
		return fmt.Errorf("filter of system calls: %w", errno)
	}
	return nil
}
