package cli

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast/internal/cluster"
)

func (a *app) clusterCreate() *cobra.Command {
	var w wish
	c := &cobra.Command{
		Use:   "create [NAME] [--nodes N]",
		Short: "Make a cluster, or bring one back",
		Long: `Makes a Kubernetes cluster whose nodes are namespaces of this machine, each with
an address of its own on a bridge, and waits until all are ready. Kubernetes,
containerd and the images that a fresh cluster needs are built from the sources
beside this program, once; nothing is pulled.

When the cluster is there already, this finds it; what an earlier create began
is finished; nodes that do not run are started with the data that they had. The
cluster's context, holdfast-NAME, is merged into the kubeconfig that kubectl
uses ($KUBECONFIG, or ~/.kube/config) and becomes the current one.

It needs root. Nodes share this machine's kernel: they prove nothing. With
--confidential, a pod of RuntimeClass holdfast is a machine that does: "holdfast
pod seal" writes down what it may do.

Exit codes: 0 ready, 1 failed, 2 usage, 5 something is not installed.`,
		Example: "  holdfast cluster create\n  holdfast cluster create --name lab --nodes 3",
		Args:    cobra.MaximumNArgs(1),
	}
	w.register(c.Flags())
	sources := sourceFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := w.read(cmd.Flags(), args); err != nil {
			return usageError{err}
		}
		if !w.apart {
			w.Kubeconfig = a.kubeconfigPath()
		}
		f, err := a.clusters(*sources)
		if err != nil {
			return err
		}
		st, err := f.Create(cmd.Context(), w.Wish)
		if err != nil {
			return err
		}
		return a.answer(st, func(out io.Writer) { a.printCluster(out, st) })
	}
	return c
}

// A wish is a cluster's as words say it.
type wish struct {
	cluster.Wish
	flag    string // its name
	publish []string
	apart   bool
}

func (w *wish) register(f *pflag.FlagSet) {
	f.StringVar(&w.flag, "name", "", "name of the cluster, which nodes and context are called after (default "+defaultCluster+")")
	f.IntVar(&w.Nodes, "nodes", 0, "number of nodes; the first is the control plane (default 1, or what the cluster has)")
	f.BoolVar(&w.Confidential, "confidential", false, "have pods of RuntimeClass holdfast run in machines of their own: needs QEMU's packages, once")
	f.BoolVar(&w.GVisor, "gvisor", false, "have pods of RuntimeClass gvisor run on gVisor's kernel, which is built for it: two minutes of a processor, once")
	f.StringArrayVarP(&w.publish, "publish", "p", nil, "[[IP:]HOSTPORT:]PORT[/udp]: lead a port of this machine (PORT and 127.0.0.1 if none is named) to a NodePort or hostPort of the first node; replaces those it had")
	f.DurationVar(&w.Wait, "wait", cluster.Patience, "how long each part may take to be ready: more on a slow machine")
	f.BoolVar(&w.apart, "no-kubeconfig", false, "leave kubectl's kubeconfig alone: \"holdfast cluster kubeconfig\" prints one")
}

func (w *wish) read(f *pflag.FlagSet, args []string) (err error) {
	if w.Name, err = oneCluster(w.flag, args); err != nil {
		return err
	}
	if f.Changed("nodes") && (w.Nodes < 1 || w.Nodes > cluster.MaxNodes) {
		return fmt.Errorf("--nodes %d: want 1 to %d", w.Nodes, cluster.MaxNodes)
	}
	if w.Wait <= 0 {
		return fmt.Errorf("--wait %v: want a time, as 5m", w.Wait)
	}
	w.Published, err = publishedPorts(w.publish)
	return err
}

// kubeconfigPath is the file that kubectl would write: the first of KUBECONFIG.
func (a *app) kubeconfigPath() string {
	for _, path := range filepath.SplitList(a.Getenv("KUBECONFIG")) {
		if path != "" {
			return path
		}
	}
	home := a.Getenv("HOME")
	if home == "" {
		home = "/root"
	}
	return filepath.Join(home, ".kube", "config")
}
