package cli

import (
	"cmp"
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
	return a.clusterWord(c, 0, func(cmd *cobra.Command, f *cluster.Fleet, name, _ string) error { return do(cmd, f, name) })
}

// clusterWord is a verb about one cluster that takes a word behind its name, too, if more is 1: with --name, alone.
func (a *app) clusterWord(c *cobra.Command, more int, do func(cmd *cobra.Command, f *cluster.Fleet, name, word string) error) *cobra.Command {
	c.Args = cobra.MaximumNArgs(1 + more)
	flag := c.Flags().String("name", "", "another way to give NAME")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if *flag != "" && len(args) <= more {
			args = append([]string{*flag}, args...)
		}
		name, err := oneCluster(*flag, args)
		if err != nil {
			return usageError{err}
		}
		args = append(args, "", "")
		f, err := a.clusters(wiring.Sources{})
		if err != nil {
			return err
		}
		return do(cmd, f, name, args[1])
	}
	return c
}

// oneCluster is the cluster that is named by flag or as the first word.
func oneCluster(flag string, args []string) (string, error) {
	name := cmp.Or(flag, defaultCluster)
	if len(args) > 0 {
		name = args[0]
	}
	if flag != "" && flag != name {
		return "", fmt.Errorf("%s and --name %s: want one cluster", name, flag)
	}
	return name, cluster.CheckName(name)
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
	for _, p := range st.Published {
		fmt.Fprintf(w, "port    %s\n", p)
	}
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
	var slow *cluster.SlowError
	switch {
	case errors.As(err, &slow):
		return "the nodes run on: the same again waits for them, longer with --wait; \"holdfast cluster logs\" tells what they do", true
	case errors.As(err, &modules):
		return modules.Hint(), true
	case errors.Is(err, components.ErrNoSources):
		return "run the program from bin/ of a checkout, whose folder kube/ it builds from", true
	case errors.Is(err, cluster.ErrTaken):
		return "take the other network down; or delete the cluster, with all that is in it, and make it again", true
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
