package seal

import (
	"os"
	"syscall"
)

// prSetDumpable is PR_SET_DUMPABLE of prctl(2), which package syscall lacks.
const prSetDumpable = 4

// NoDumps keeps this process's memory out of core files, also of those that a
// program named in core_pattern would be piped, and away from debuggers of the
// same user. It holds for the process's whole life.
func NoDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}
