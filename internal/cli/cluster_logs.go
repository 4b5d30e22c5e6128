package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/cluster"
)

func (a *app) clusterLogs() *cobra.Command {
	var node string
	var follow bool
	c := &cobra.Command{
		Use:   "logs [NAME [SERVICE]]",
		Short: "Show what a node's services wrote",
		Long: `Shows what SERVICE (kubelet, apiserver, etcd, containerd …) of a node wrote, or
which services there are. With --json each line is an object.
` + clusterName + `

Exit codes: 0 shown, 1 there is no such cluster, node or service, 2 usage.`,
		Example: "  holdfast cluster logs lab\n  holdfast cluster logs lab kubelet --node lab-2 --follow\n  holdfast cluster logs --name lab kubelet",
	}
	c.Flags().StringVar(&node, "node", "", "name of the node (default the first)")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the node ends")
	return a.clusterWord(c, 1, func(cmd *cobra.Command, f *cluster.Fleet, name, service string) error {
		log, err := f.Log(name, node, service)
		if err != nil {
			return err
		}
		if service == "" {
			return a.answer(map[string]any{"node": log.Node, "services": log.Services, "machine": log.Path}, func(w io.Writer) {
				fmt.Fprintln(w, strings.Join(log.Services, "\n"))
			})
		}
		a.closeMeter()
		return a.showService(cmd.Context(), log, service, func() bool { return !follow || !log.Running() })
	})
}

// showService shows a service's lines without what could act on a terminal.
func (a *app) showService(ctx context.Context, log *cluster.Log, service string, over func() bool) error {
	to := json.NewEncoder(a.Stdout)
	return followLines(ctx, log.Path, over, func(line string) error {
		if a.json {
			return to.Encode(map[string]string{"node": log.Node, "service": service, "text": line})
		}
		_, err := fmt.Fprintln(a.Stdout, printable(line))
		return err
	})
}
