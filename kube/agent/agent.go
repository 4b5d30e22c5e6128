// Package agent is what Holdfast adds to each node of a cluster: folders for
// claims, and the rules of NetworkPolicies.
//
// Both read the same informers in one process; it has a user of its own.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"holdfast/kube/agent/policy"
	"holdfast/kube/agent/volumes"
)

type options struct{ kubeconfig, node, volumes, socket string }

// NewCommand makes the command line.
func NewCommand() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use: "agent", Short: "Give claims folders and keep NetworkPolicies on one node", Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return o.run(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		},
	}
	f := c.Flags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "file that names the cluster and this agent")
	f.StringVar(&o.node, "node", "", "name of the node that it runs on")
	f.StringVar(&o.volumes, "volumes", "/var/lib/holdfast/volumes", "folder that holds volumes")
	f.StringVar(&o.socket, "socket", "/run/holdfast/policy.sock", "where the CNI plugin holdfast-policy asks")
	for _, name := range []string{"kubeconfig", "node"} {
		_ = c.MarkFlagRequired(name) // it is there
	}
	return c
}

func (o options) run(ctx context.Context, log *slog.Logger) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return err
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "holdfast-agent"))
	if err != nil {
		return err
	}
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typed.EventSinkImpl{Interface: client.CoreV1().Events("")})
	factory := informers.NewSharedInformerFactoryWithOptions(client, volumes.Resync, informers.WithTransform(trim))
	guard, err := policy.New(o.node, factory, log)
	if err != nil {
		return err
	}
	folders, err := volumes.New(volumes.Config{
		Node: o.node, Dir: o.volumes, Client: client, Log: log,
		Events: events.NewRecorder(scheme.Scheme, core.EventSource{Component: "holdfast-agent", Host: o.node}),
	}, factory)
	if err != nil {
		return err
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	return all(ctx, map[string]func(context.Context) error{
		"volumes": folders.Run, "policies": guard.Run,
		"socket": func(ctx context.Context) error { return guard.Serve(ctx, o.socket) },
	})
}

// trim forgets what nobody here reads, and what is half of an object.
func trim(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// all runs parts until ctx ends or one of them does; then it stops the others.
func all(ctx context.Context, parts map[string]func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for name, run := range parts {
		go func() {
			err := run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			ended <- err
		}()
	}
	var errs []error
	for range parts {
		errs = append(errs, <-ended)
		cancel()
	}
	return errors.Join(errs...)
}
