// Package approve runs the approver of a cluster as a service of its first node.
package approve

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"holdfast/internal/cluster/approver"
	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/input"
)

// Main approves until it is told to end, and returns the exit code.
func Main(kubeconfig, nodes string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := run(ctx, kubeconfig, nodes); err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-node: approve:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, kubeconfig, nodes string) error {
	raw, err := input.ReadFile(kubeconfig, input.Document)
	if err != nil {
		return err
	}
	config, err := kubeapi.ParseKubeconfig(raw)
	if err != nil {
		return err
	}
	client, err := kubeapi.New(config)
	if err != nil {
		return err
	}
	defer client.Close()
	if raw, err = input.ReadFile(nodes, input.Document); err != nil {
		return err
	}
	var known approver.Nodes
	if err := json.Unmarshal(raw, &known); err != nil {
		return fmt.Errorf("%s: %w", nodes, err)
	}
	approver.Run(ctx, client, known, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	return nil
}
