// Package node is the life of process 1: from the kernel's first instruction
// to the one workload that the measured configuration names.
//
// Every stage either completes or ends the machine with a reason; nothing of
// the configuration is used before it was measured, and nothing of the disk
// before its hash was checked.
package node

import (
	"context"
	"fmt"
	"io"
	"os"
)

// A Config holds what a machine is made of.
type Config struct {
	Console io.Writer // nil: standard error, which is the kernel's console
}

// Run lives the machine's life and returns why it ended.
func Run(ctx context.Context, c Config) error {
	if c.Console == nil {
		c.Console = os.Stderr
	}
	r := &reporter{console: c.Console, send: func(string, any) {}}
	if err := mountKernel(); err != nil {
		return &Refusal{"mounts", err}
	}
	r.Stage("mounts", "kernel file systems mounted", "")
	n, err := insertModules()
	if err != nil {
		return &Refusal{"modules", err}
	}
	r.Stage("modules", fmt.Sprintf("%d modules inserted", n), "")
	return nil
}
