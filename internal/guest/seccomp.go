package guest

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// deniedCalls reach parts of the kernel that a workload has no use for and
// that past escapes went through. Capabilities forbid most of them already;
// those of the last two lines they do not.
var deniedCalls = []string{
	"acct", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load", "kexec_load",
	"lookup_dcookie", "mount", "mount_setattr", "move_mount", "fsconfig", "fsmount", "fsopen", "fspick", "open_tree",
	"name_to_handle_at", "nfsservctl", "open_by_handle_at", "pivot_root", "quotactl", "quotactl_fd", "reboot", "setns",
	"settimeofday", "clock_settime", "stime", "swapoff", "swapon", "umount", "umount2", "uselib", "vm86", "vm86old",
	"add_key", "keyctl", "request_key", "bpf", "perf_event_open", "userfaultfd", "unshare",
	"io_uring_enter", "io_uring_register", "io_uring_setup",
}

// newUser is the flag by which clone makes a user namespace, in which a
// process would have all capabilities over what it makes there.
const newUser = unix.CLONE_NEWUSER

// seccomp denies those calls and allows the rest: what runs here is the only
// workload of its machine, so the filter protects the node, not neighbours.
func seccomp() *specs.LinuxSeccomp {
	denied, missing := uint(unix.EPERM), uint(unix.ENOSYS)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		Syscalls: []specs.LinuxSyscall{
			{Names: deniedCalls, Action: specs.ActErrno, ErrnoRet: &denied},
			{Names: []string{"clone"}, Action: specs.ActErrno, ErrnoRet: &denied,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: newUser, ValueTwo: newUser, Op: specs.OpMaskedEqual}}},
			// A filter cannot see clone3's flags; the C library falls back to clone.
			{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &missing},
		},
	}
}
