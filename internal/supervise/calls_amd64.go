package supervise

import "golang.org/x/sys/unix"

// native is the architecture; calls with numbers from foreignFrom are x32's.
const (
	native      = unix.AUDIT_ARCH_X86_64
	foreignFrom = 0x40000000
)

var olderModes = []mode{{unix.SYS_CHMOD, 1, always}, {unix.SYS_MKDIR, 1, always}, {unix.SYS_MKNOD, 1, always}, {unix.SYS_CREAT, 1, always}, {unix.SYS_OPEN, 2, creating}}

// portCalls open ports of hardware.
var portCalls = []uintptr{unix.SYS_IOPERM, unix.SYS_IOPL}
