// Package renew runs the renewer of a cluster's certificates as a service of its first
// node.
package renew

import (
	"context"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster/renewer"
)

// Main renews what is in folders until it is told to end, and returns the exit code.
func Main(authorities string, folders []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	renewer.Run(ctx, renewer.Config{Authorities: authorities, Folders: folders, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	return 0
}
