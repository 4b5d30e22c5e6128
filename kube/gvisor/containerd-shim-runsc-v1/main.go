// Command containerd-shim-runsc-v1 is gVisor's shim under the name that
// containerd looks for.
package main

import "gvisor.dev/gvisor/shim/v1/cli"

func main() { cli.Main() }
