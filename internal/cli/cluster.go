package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/components"
	"holdfast/internal/wiring"
)

func (a *app) clusterVerbs() *cobra.Command {
	return group("cluster", "Make and end Kubernetes clusters on this machine",
		a.clusterCreate(), a.clusterList(), a.clusterStatus(), a.clusterKubeconfig(), a.clusterLogs(), a.clusterStop(), a.clusterDelete())
}

const (
	defaultCluster = "default"
	clusterName    = "[NAME] is " + defaultCluster + " when it is left out."
)

// clusters opens the installation's clusters.
func (a *app) clusters(s wiring.Sources) (*cluster.Fleet, error) {
	b, err := a.builder(s)
	if err != nil {
		return nil, err
	}
	b.Node = nodeProgram()
	images := filepath.Dir(guestRecipe())
	return b.Installation.Clusters(wiring.ClusterConfig{Builder: b, Images: images, Source: filepath.Join(images, "..", "kube")})
}

// clusterVerb is a verb about one cluster.
func (a *app) clusterVerb(c *cobra.Command, do func(cmd *cobra.Command, f *cluster.Fleet, name string) error) *cobra.Command {
	if c.Args == nil {
		c.Args = cobra.MaximumNArgs(1)
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name := defaultCluster
		if len(args) > 0 {
			name = args[0]
		}
		if err := cluster.CheckName(name); err != nil {
			return usageError{err}
		}
		f, err := a.clusters(wiring.Sources{})
		if err != nil {
			return err
		}
		return do(cmd, f, name)
	}
	return c
}

func (a *app) clusterCreate() *cobra.Command {
	w := cluster.Wish{Name: defaultCluster}
	var apart bool
	c := &cobra.Command{
		Use:   "create [--name NAME] [--nodes N]",
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
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&w.Name, "name", w.Name, "name of the cluster; nodes and context are called after it")
	c.Flags().IntVar(&w.Nodes, "nodes", 0, "number of nodes; the first is the control plane (default 1, or what the cluster has)")
	c.Flags().BoolVar(&w.Confidential, "confidential", false, "have pods of RuntimeClass holdfast run in machines of their own: needs QEMU's packages, once")
	c.Flags().BoolVar(&w.GVisor, "gvisor", false, "have pods of RuntimeClass gvisor run on gVisor's kernel, which is built for it: two minutes of a processor, once")
	c.Flags().BoolVar(&apart, "no-kubeconfig", false, "leave kubectl's kubeconfig alone: \"holdfast cluster kubeconfig\" prints one")
	sources := sourceFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := cluster.CheckName(w.Name); err != nil {
			return usageError{err}
		}
		if cmd.Flags().Changed("nodes") && (w.Nodes < 1 || w.Nodes > cluster.MaxNodes) {
			return usageError{fmt.Errorf("--nodes %d: want 1 to %d", w.Nodes, cluster.MaxNodes)}
		}
		if !apart {
			w.Kubeconfig = a.kubeconfigPath()
		}
		f, err := a.clusters(*sources)
		if err != nil {
			return err
		}
		st, err := f.Create(cmd.Context(), w)
		if err != nil {
			return err
		}
		return a.answer(st, func(out io.Writer) { a.printCluster(out, st) })
	}
	return c
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

func (a *app) printCluster(w io.Writer, st *cluster.Status) {
	state := "ready"
	if !st.Ready {
		state = "not ready"
		if st.Reason != "" {
			state += ": " + printable(st.Reason)
		}
	}
	fmt.Fprintf(w, "%s %s\ncontext %s\nserver  %s %s\n", st.Name, state, st.Context, st.Server, printable(st.Version))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, n := range st.Nodes {
		fmt.Fprintf(t, "%s\t%s\t%s\n", n.Name, n.Address, nodeState(n))
	}
	_ = t.Flush()
}

func nodeState(n cluster.NodeStatus) string {
	switch {
	case n.Ready:
		return "ready"
	case n.Running:
		return "runs, not ready: " + printable(n.Reason)
	default:
		return "does not run"
	}
}

func (a *app) clusterList() *cobra.Command {
	c := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List clusters",
		Long:    "Lists this installation's clusters and how they are now.\n\nExit codes: 0 listed, 1 failed, 2 usage.",
		Example: "  holdfast cluster list",
		Args:    cobra.NoArgs,
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := a.clusters(wiring.Sources{})
		if err != nil {
			return err
		}
		all, err := f.List(cmd.Context())
		if err != nil {
			return err
		}
		return a.answer(map[string]any{"clusters": all}, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tNODES\tSTATE\tVERSION\tAGE")
			for _, st := range all {
				state := map[bool]string{true: "ready", false: "not ready"}[st.Ready]
				fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\n", st.Name, len(st.Nodes), state, printable(st.Version), age(time.Since(st.Created)))
			}
			_ = t.Flush()
		})
	}
	return c
}

func (a *app) clusterStatus() *cobra.Command {
	return a.clusterVerb(&cobra.Command{
		Use:     "status [NAME]",
		Short:   "Tell how a cluster and its nodes are",
		Long:    "Tells whether the machines of a cluster run and what Kubernetes says of its\nnodes. " + clusterName + "\n\nExit codes: 0 it is ready, 1 it is not, or there is no such cluster, 2 usage.",
		Example: "  holdfast cluster status\n  holdfast cluster status lab --json",
	}, func(cmd *cobra.Command, f *cluster.Fleet, name string) error {
		st, err := f.Status(cmd.Context(), name)
		if err != nil {
			return err
		}
		if err := a.answer(st, func(w io.Writer) { a.printCluster(w, st) }); err != nil || st.Ready {
			return err
		}
		return exitError(exitFailed)
	})
}

func (a *app) clusterKubeconfig() *cobra.Command {
	return a.clusterVerb(&cobra.Command{
		Use:   "kubeconfig [NAME]",
		Short: "Print a kubeconfig for a cluster's administrator",
		Long: `Prints a kubeconfig with the cluster's one context, its CA and the
administrator's key: whoever has it may do everything in the cluster.
` + clusterName + `

Exit codes: 0 printed, 1 there is no such cluster, 2 usage.`,
		Example: "  holdfast cluster kubeconfig lab > lab.kubeconfig",
	}, func(_ *cobra.Command, f *cluster.Fleet, name string) error {
		raw, err := f.Kubeconfig(name)
		if err != nil {
			return err
		}
		return a.answer(map[string]string{"kubeconfig": string(raw)}, func(w io.Writer) { _, _ = w.Write(raw) })
	})
}

func (a *app) clusterStop() *cobra.Command {
	return a.clusterVerb(&cobra.Command{
		Use:     "stop [NAME]",
		Short:   "End a cluster's nodes and keep their data",
		Long:    "Ends the nodes of a cluster; create brings them back with their data.\n" + clusterName + "\n\nExit codes: 0 they have ended, 1 failed, 2 usage.",
		Example: "  holdfast cluster stop lab",
	}, func(cmd *cobra.Command, f *cluster.Fleet, name string) error { return f.Stop(cmd.Context(), name) })
}

func (a *app) clusterDelete() *cobra.Command {
	return a.clusterVerb(&cobra.Command{
		Use:   "delete [NAME]",
		Short: "End a cluster and remove all of it",
		Long: `Ends the nodes of a cluster and removes everything that was made for it: its
data, its keys, its bridge, its rules, its control groups and its context in
kubeconfigs. It also cleans up behind a create that was killed.
` + clusterName + `

Exit codes: 0 nothing of it is left, 1 failed, or there is no such cluster,
2 usage.`,
		Example: "  holdfast cluster delete lab",
	}, func(cmd *cobra.Command, f *cluster.Fleet, name string) error { return f.Delete(cmd.Context(), name) })
}

// explainCluster knows what goes wrong with clusters.
func explainCluster(err error) (hint string, ok bool) {
	var nodes *cluster.NodesError
	var resolver *wiring.ResolverError
	var modules *components.ModulesError
	switch {
	case errors.As(err, &modules):
		return modules.Hint(), true
	case errors.Is(err, components.ErrNoSources):
		return "run the program from bin/ of a checkout, whose folder kube/ it builds from", true
	case errors.Is(err, cluster.ErrNone):
		return `"holdfast cluster list" shows those that there are`, true
	case errors.Is(err, cluster.ErrNoGVisor):
		return "holdfast cluster create --gvisor makes one whose nodes have it", true
	case errors.Is(err, cluster.ErrPlain):
		return "holdfast cluster create --confidential makes one whose nodes can", true
	case errors.As(err, &nodes):
		return "holdfast cluster delete " + nodes.Name, true
	case errors.Is(err, wiring.ErrNeedsRoot):
		return "run it as root, for one with sudo", true
	case errors.As(err, &resolver):
		return "name a server that others can reach in " + resolver.Path, true
	}
	return "", false
}
