package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster/components"
)

// A runtimeTest is a run of critest against the containerd that nodes have, with
// settings like theirs, in namespaces of its own: the tests want images of
// registries elsewhere, which are a registry on their loopback.
type runtimeTest struct {
	*endToEnd
	set components.Set
}

// critest runs it, and keeps the result.
func (k *kubernetesFlags) critest(ctx context.Context, out string) error {
	work, err := os.MkdirTemp("", "critest-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := k.compose(ctx, work); err != nil {
		return err
	}
	if err := apart(ctx, "-critest", "-state", k.state, "-time", k.patience.String(), "-inside", work); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(work, "outcomes.json"))
	if err != nil {
		return err
	}
	path := filepath.Join(filepath.Dir(out), recordFile)
	r, err := loadRecord(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &r.Runtime); err != nil {
		return err
	}
	if err := r.save(path); err != nil {
		return err
	}
	if err := keep(out, r.runtimeSection()); err != nil {
		return err
	}
	return verdict(len(r.Runtime.Tests), r.Runtime.Tests)
}

// runtimeImages are those of recipes, and what the tests call them.
var runtimeImages = map[string][]string{
	"test/conformance/images/busybox":    {"e2e-test-images/busybox:1.29-2"},
	"test/conformance/images/httpd":      {"e2e-test-images/httpd:2.4.39-4"},
	"test/conformance/images/nginx":      {"e2e-test-images/nginx:1.14-2", "k8s-staging-cri-tools/hostnet-nginx-amd64:latest"},
	"test/conformance/images/nonewprivs": {"e2e-test-images/nonewprivs:1.3"},
	"images/pause":                       {"pause:3.9"},
}

func (e *endToEnd) layout(recipe string) string {
	return filepath.Join(e.work, "image-"+filepath.Base(recipe))
}

// compose fetches and builds, which the namespaces' network cannot.
func (k *kubernetesFlags) compose(ctx context.Context, work string) error {
	e, err := newEndToEnd(".", k.state, work)
	if err != nil {
		return err
	}
	if _, err := e.runtime(ctx); err != nil {
		return err
	}
	for recipe := range runtimeImages {
		if _, err := e.own(ctx, "image", "build", filepath.Join(e.root, recipe), "-o", e.layout(recipe), "--quiet"); err != nil {
			return err
		}
	}
	return nil
}

// runtime builds containerd and its tests, or finds them.
func (e *endToEnd) runtime(ctx context.Context) (components.Set, error) {
	return components.Build(ctx, components.Config{
		Source: filepath.Join(e.root, "kube"), Dir: filepath.Join(e.state, "kube"), Only: []string{"containerd", "cni", "critest"},
	})
}

// critestInside is what runs in the namespaces.
func (k *kubernetesFlags) critestInside(ctx context.Context) error {
	e, err := newEndToEnd(".", k.state, k.inside)
	if err != nil {
		return err
	}
	e.patience = k.patience
	set, err := e.runtime(ctx)
	if err != nil {
		return err
	}
	if err := settle(); err != nil {
		return err
	}
	tests, err := (&runtimeTest{endToEnd: e, set: set}).run(ctx)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(runtimeRecord{Suite: set.Of("critest")[0].Version, Runtime: set.Of("containerd")[0].Version, Tests: tests})
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(k.inside, "outcomes.json"), raw, 0o600)
}

// apart runs this program again with args, in mount and network namespaces.
func apart(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

// settle makes the namespaces that this program is in ready.
func settle() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), netlink.LinkSetUp(lo))
}

// elsewhere is what the tests name registries.
var elsewhere = []string{"gcr.io", "registry.k8s.io", "k8s.gcr.io"}

// run gives what the tests came to.
func (r *runtimeTest) run(ctx context.Context) (map[string]outcome, error) {
	registry, stop, err := r.serve(ctx, "127.0.0.1:5000")
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := r.images(ctx, registry); err != nil {
		return nil, err
	}
	socket, end, err := r.containerd(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	said, ran := command(ctx, r.work, nil, r.set.Path("critest.test"), "-runtime-endpoint=unix://"+socket, "-image-endpoint=unix://"+socket,
		"-ginkgo.json-report="+filepath.Join(r.work, "report.json"), "-ginkgo.no-color", "-ginkgo.timeout="+r.patience.String())
	raw, err := os.ReadFile(filepath.Join(r.work, "report.json"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("critest left no report: %.2000s", said), err, ran)
	}
	return outcomes(raw)
}

// images pushes those that the tests name: two of recipes, and variants of one.
func (r *runtimeTest) images(ctx context.Context, registry string) error {
	for recipe, names := range runtimeImages {
		for _, n := range names {
			if err := r.pushAs(ctx, r.layout(recipe), registry+"/"+n); err != nil {
				return err
			}
		}
	}
	base, err := fetch(ctx, registry+"/e2e-test-images/busybox:1.29-2")
	if err != nil {
		return err
	}
	users := map[string]string{"user-uid": "1002", "user-username": "www-data", "user-uid-group": "1003:1003",
		"user-username-group": "www-data:100", "predefined-group": "1000"}
	for variant, user := range users {
		if err := vary(ctx, base, user, "", registry+"/k8s-staging-cri-tools/test-image-"+variant+":latest"); err != nil {
			return err
		}
	}
	for _, variant := range []string{"latest:latest", "tag:test", "tag:all", "1:latest", "2:latest", "3:latest"} {
		if err := vary(ctx, base, "", variant, registry+"/k8s-staging-cri-tools/test-image-"+variant); err != nil {
			return err
		}
	}
	for _, tag := range []string{"1", "2", "3"} {
		if err := vary(ctx, base, "", "tags", registry+"/k8s-staging-cri-tools/test-image-tags:"+tag); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, ref string) (v1.Image, error) {
	tag, err := name.NewTag(ref)
	if err != nil {
		return nil, err
	}
	return remote.Image(tag, remote.WithContext(ctx))
}

// vary pushes base with another user and a label.
func vary(ctx context.Context, base v1.Image, user, label, ref string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	file, err := base.ConfigFile()
	if err != nil {
		return err
	}
	config := *file.Config.DeepCopy()
	config.User = user
	config.Labels = map[string]string{"variant": label}
	image, err := mutate.Config(base, config)
	if err != nil {
		return err
	}
	return remote.Write(tag, image, remote.WithContext(ctx))
}
