package components

import (
	"fmt"
	"slices"
	"strings"
)

// A module is a Go module at or below kube/, and what is built of it.
type module struct {
	name     string
	dir      string // below the sources
	upstream string // the module whose version it has
	packages []string
	tests    []string // packages whose tests become a program, as e2e.test of test/e2e
	tags     []string
	// stamp gives the variables that tell a program its version.
	stamp func(version string) map[string]string
	extra bool // built when asked for by name only
	// inside says that it imports packages of the module that the sources lie in.
	inside bool
}

const (
	containerd = "github.com/containerd/containerd/v2"
	plugins    = "github.com/containernetworking/plugins"
	gvisor     = "gvisor.dev/gvisor"
	criTools   = "sigs.k8s.io/cri-tools"
)

var modules = []module{
	{name: "kube", dir: ".", upstream: "k8s.io/kubernetes", packages: []string{".", "./holdfast-agent"}, stamp: stampKubernetes},
	{
		name: "containerd", dir: "containerd", upstream: containerd,
		packages: below(containerd+"/cmd/", "containerd", "containerd-shim-runc-v2", "ctr"),
		tags:     []string{"no_btrfs", "no_devmapper", "no_zfs"},
		stamp: func(version string) map[string]string {
			return map[string]string{containerd + "/version.Version": version}
		},
	},
	{
		name: "cni", dir: "cni", upstream: plugins,
		packages: append(below(plugins+"/plugins/", "main/bridge", "main/loopback", "main/ptp", "ipam/host-local",
			"meta/bandwidth", "meta/portmap", "meta/tuning"), "./holdfast-policy"),
		stamp: func(version string) map[string]string {
			return map[string]string{plugins + "/pkg/utils/buildversion.BuildVersion": version}
		},
	},
	{
		name: "shim", dir: "shim", upstream: containerd, extra: true, inside: true,
		packages: []string{"./containerd-shim-holdfast-v2"},
	},
	{
		name: "e2e", dir: "e2e", upstream: "k8s.io/kubernetes", extra: true, stamp: stampKubernetes,
		packages: []string{"github.com/onsi/ginkgo/v2/ginkgo"}, tests: []string{"k8s.io/kubernetes/test/e2e"},
	},
	{
		name: "critest", dir: "critest", upstream: criTools, extra: true, tests: []string{criTools + "/cmd/critest"},
		stamp: func(version string) map[string]string {
			return map[string]string{criTools + "/pkg/version.Version": version}
		},
	},
	{
		name: "gvisor", dir: "gvisor", upstream: gvisor, extra: true,
		packages: []string{gvisor + "/runsc", "./containerd-shim-runsc-v1"},
		stamp: func(version string) map[string]string {
			return map[string]string{gvisor + "/runsc/version.version": version}
		},
	},
}

func below(prefix string, names ...string) []string {
	for i := range names {
		names[i] = prefix + names[i]
	}
	return names
}

// stampKubernetes sets what upstream's hack/lib/version.sh does, but for the
// commit and the time, which a module does not have.
func stampKubernetes(version string) map[string]string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	vars := map[string]string{}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		vars[pkg+".gitVersion"] = version
		vars[pkg+".gitMajor"] = parts[0]
		vars[pkg+".gitMinor"] = parts[min(1, len(parts)-1)]
	}
	return vars
}

// choose finds modules by name; no name stands for all that are not extra.
func choose(names []string) ([]module, error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(modules), func(m module) bool { return m.extra }), nil
	}
	var chosen []module
	for _, name := range names {
		i := slices.IndexFunc(modules, func(m module) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no module of the cluster is called %q", name)
		}
		chosen = append(chosen, modules[i])
	}
	return chosen, nil
}
