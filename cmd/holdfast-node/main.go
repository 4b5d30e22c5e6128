// Command holdfast-node is process 1 of every machine image.
package main

import (
	"fmt"
	"os"

	"holdfast/internal/wiring/machine"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "holdfast-node: runs as process 1 of a machine image, not by hand")
		os.Exit(2)
	}
	machine.Run()
}
