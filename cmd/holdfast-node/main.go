// Command holdfast-node is process 1 of every machine, and the Ignition engine
// when it is called so; in a cluster's first node it sees to certificates, too.
package main

import (
	"context"
	"fmt"
	"os"

	"holdfast/internal/api"
	"holdfast/internal/node/container"
	"holdfast/internal/supervise"
	"holdfast/internal/wiring/certify"
	"holdfast/internal/wiring/machine"
	"holdfast/internal/wiring/provision"
)

func main() {
	if words, ok := provision.Words(os.Args); ok {
		c := provision.Command{Args: words, Env: os.Getenv, Stdout: os.Stdout, Stderr: os.Stderr}
		os.Exit(c.Run(context.Background()))
	}
	if len(os.Args) > 1 && os.Args[1] == "launch" { // a service, which the supervisor has set up so
		fmt.Fprintln(os.Stderr, "holdfast-node: launch:", supervise.Launch(os.Args[2:]))
		os.Exit(supervise.ExitLaunch)
	}
	if words, ok := container.Words(os.Args); ok {
		os.Exit(container.Main(words))
	}
	if len(os.Args) > 5 && os.Args[1] == api.CertifyWord {
		os.Exit(certify.Main(os.Args[2], os.Args[3], os.Args[4], os.Args[5:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "holdfast-node: runs as process 1 of a machine image, or as ignition")
		os.Exit(2)
	}
	machine.Run()
}
