// Package certify runs what approves and renews the certificates of a cluster as one
// service of its first node: apart, each would take as much memory again.
package certify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/internal/cluster/approver"
	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/cluster/renewer"
	"holdfast/internal/input"
)

// Main works until it is told to end, and returns the exit code. It approves as
// kubeconfig and nodes say, and renews what is in folders.
func Main(kubeconfig, nodes, authorities string, folders []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // at once: without it the API server may not come to answer
		renewer.Run(ctx, renewer.Config{Authorities: authorities, Folders: folders, Log: log})
		return nil
	})
	g.Go(func() error { return approve(ctx, kubeconfig, nodes, log) })
	if err := g.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-node: certify:", err)
		return 1
	}
	return 0
}

func approve(ctx context.Context, kubeconfig, nodes string, log *slog.Logger) error {
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
	if await(ctx, client, log) {
		approver.Run(ctx, client, known, log)
	}
	return nil
}

// await waits for the API server, beside which this starts, and says why it waits whenever
// that changes.
func await(ctx context.Context, client *kubeapi.Client, log *slog.Logger) bool {
	said := ""
	for {
		once, done := context.WithTimeout(ctx, 5*time.Second)
		err := client.Ready(once)
		done()
		if err == nil {
			return true
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			log.Info("kubelets' certificates wait for the API server", "err", err)
		}
		client.Close() // the next shows the certificate that there is then
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}
