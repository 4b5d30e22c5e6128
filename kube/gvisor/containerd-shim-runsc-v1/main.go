// Command containerd-shim-runsc-v1 is gVisor's shim under the name that
// containerd looks for.
//
// It is upstream's but for how it starts: upstream's gives up where it may not
// make itself the last to be killed for want of memory, which takes
// CAP_SYS_RESOURCE. This one is as likely to be killed as containerd then, as
// the shim of runc is.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/pkg/shim"
	gvisor "gvisor.dev/gvisor/pkg/shim/v1"
	_ "gvisor.dev/gvisor/pkg/shim/v1/plugin" // the task service
)

func main() {
	shim.Run(context.Background(), manager{gvisor.NewShimManager("io.containerd.runsc.v1")})
}
