// Package machine makes process 1 of a machine image out of its parts.
//
// It is the only place that knows node, guest and attest together; none of
// them knows another.
package machine

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/internal/node"
)

// Run is the whole life of process 1. It does not return: the machine is off.
func Run() {
	if err := node.Run(context.Background(), node.Config{}); err != nil {
		fmt.Fprintf(os.Stderr, "holdfast: %v\n", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
