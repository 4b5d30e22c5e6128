// Command kube is Kubernetes and etcd as one file: kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl and
// etcd, chosen by the name it is called by or by its first word.
//
// One process runs one component, as upstream's programs do: their signal
// handlers, exits and log flags belong to the whole process. One file means
// one build, and one copy of the code in memory whatever runs.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // for a CronJob's time zone

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's ways to log in
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components are the programs in here. Each returns its exit status.
var components = map[string]func() int{
	"kube-apiserver":          run(apiserver.NewAPIServerCommand),
	"kube-controller-manager": run(controllers.NewControllerManagerCommand),
	"kube-scheduler":          run(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              run(proxy.NewProxyCommand),
	"kubelet":                 run(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 runKubectl,
	"etcd":                    runEtcd,
}

func main() {
	component, args := choose(os.Args)
	if component == nil {
		fmt.Fprintf(os.Stderr, "usage: kube COMPONENT [ARGUMENT...]\ncomponents: %s\n", strings.Join(names(), " "))
		os.Exit(2)
	}
	os.Args = args // all of them read it
	os.Exit(component())
}

// choose finds the component that args ask for, and its own arguments. The
// prefix "kube-" may be left out.
func choose(args []string) (component func() int, rest []string) {
	for range min(len(args), 2) {
		name := filepath.Base(args[0])
		for _, full := range []string{name, "kube-" + name} {
			if c, ok := components[full]; ok {
				return c, append([]string{full}, args[1:]...)
			}
		}
		args = args[1:]
	}
	return nil, nil
}

func names() []string {
	var list []string
	for name := range components {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func run(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl sets the verbosity before the command is made, as that already logs.
func runKubectl() int {
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints it and exits
	}
	return 0
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
