package guest

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// deniedCalls have no use in a container without privileges, and a history of
// faults in the kernel behind them. Most want a capability that the workload
// lacks; the filter holds where such a check is missing.
var deniedCalls = []string{
	// The kernel itself: modules, kernels, clocks, power, logs.
	"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms",
	"kexec_load", "kexec_file_load", "reboot", "syslog", "acct", "swapon", "swapoff", "quotactl", "quotactl_fd",
	"settimeofday", "stime", "clock_settime", "clock_adjtime",
	// Mounts and namespaces.
	"mount", "umount", "umount2", "pivot_root", "unshare", "setns", "move_mount", "open_tree", "open_tree_attr",
	"fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
	// Files past their names, and other processes' memory.
	"open_by_handle_at", "name_to_handle_at", "lookup_dcookie", "process_vm_readv", "process_vm_writev", "process_madvise",
	"kcmp", "pidfd_getfd",
	// Programs in the kernel, its keys, and what is traced in it.
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"add_key", "request_key", "keyctl", "fanotify_init",
	// Hardware, and what only old programs call.
	"iopl", "ioperm", "move_pages", "migrate_pages", "vm86", "vm86old", "modify_ldt",
	"uselib", "ustat", "sysfs", "_sysctl", "nfsservctl", "vserver",
}

// newNamespaces are the flags of clone that make one (clone(2)).
var newNamespaces = []uint64{
	unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWPID,
	unix.CLONE_NEWIPC, unix.CLONE_NEWUTS, unix.CLONE_NEWCGROUP,
}

// callTables are the ways into the kernel that a processor has, by Go's name
// of it.
var callTables = map[string][]specs.Arch{
	"amd64": {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
	"arm64": {specs.ArchAARCH64, specs.ArchARM},
}

// seccomp denies those calls by every way into the kernel that this processor
// has; a program of another kind is killed at its first call. It allows what
// it does not name, unlike the usual engines' filter.
func seccomp() *specs.LinuxSeccomp {
	deny := func(errno uint, args []specs.LinuxSeccompArg, names ...string) specs.LinuxSyscall {
		return specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &errno, Args: args}
	}
	rules := []specs.LinuxSyscall{
		deny(uint(unix.EPERM), nil, deniedCalls...),
		deny(uint(unix.ENOSYS), nil, "clone3"), // its flags are out of the filter's sight: libraries go back to clone
		// AF_VSOCK leads to the host past the network, AF_ALG far into the kernel.
		deny(uint(unix.EAFNOSUPPORT), equal(0, unix.AF_VSOCK), "socket"),
		deny(uint(unix.EAFNOSUPPORT), equal(0, unix.AF_ALG), "socket"),
	}
	for _, flag := range newNamespaces {
		rules = append(rules, deny(uint(unix.EPERM), []specs.LinuxSeccompArg{
			{Index: 0, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual},
		}, "clone"))
	}
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: callTables[runtime.GOARCH],
		Syscalls:      rules,
	}
}

func equal(index uint, value uint64) []specs.LinuxSeccompArg {
	return []specs.LinuxSeccompArg{{Index: index, Value: value, Op: specs.OpEqualTo}}
}
