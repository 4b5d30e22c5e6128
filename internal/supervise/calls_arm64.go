package supervise

import "golang.org/x/sys/unix"

const (
	native      = unix.AUDIT_ARCH_AARCH64
	foreignFrom = 0xffffffff // there are none
)

var olderModes []mode

// portCalls: this architecture has none.
var portCalls []uintptr
