// Command containerd-shim-holdfast-v2 runs a pod of containerd's as one guest machine.
//
// Called as "containerd-shim-holdfast-v2 snapshotter SOCKET FOLDER" it is the
// snapshotter that goes with it: one that never has an image's content.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/shim"

	"holdfast/kube/shim/service"
	"holdfast/kube/shim/snapshotter"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "snapshotter" {
		os.Exit(snapshots(os.Args[2:]))
	}
	config := flag.String(service.ConfigFlag, service.DefaultConfig, "how this node runs machines")
	service.Register(config)
	// Package exec waits for QEMU and the TPM; nobody else may.
	shim.RunShim(context.Background(), service.Manager{}, func(c *shim.Config) { c.NoReaper, c.NoSubreaper = true, true })
}

func snapshots(words []string) int {
	if len(words) != 2 {
		fmt.Fprintln(os.Stderr, "usage: containerd-shim-holdfast-v2 snapshotter SOCKET FOLDER")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := snapshotter.Serve(ctx, words[0], words[1]); err != nil {
		fmt.Fprintln(os.Stderr, "containerd-shim-holdfast-v2: snapshotter:", err)
		return 1
	}
	return 0
}
