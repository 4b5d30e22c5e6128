package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"holdfast/internal/cluster/components"
)

// An endToEnd is one run of Kubernetes' end-to-end tests against a cluster that
// is made for it.
type endToEnd struct {
	holdfast string // our program
	root     string // of the checkout
	state    string // keeps what is built
	work     string // is removed afterwards
	nodes    int
	procs    int // tests at once, but for those that want to be alone
	patience time.Duration

	ginkgo, tests string // programs
	version       string
}

// newEndToEnd is for the checkout in root.
func newEndToEnd(root, state, work string) (*endToEnd, error) {
	e := &endToEnd{work: work, nodes: 1, procs: 4, patience: 15 * time.Minute}
	var err error
	if e.root, err = filepath.Abs(root); err != nil {
		return nil, err
	}
	e.holdfast = filepath.Join(e.root, "bin", "holdfast")
	e.state, err = filepath.Abs(state)
	return e, err
}

// open builds the tests, or finds them.
func (e *endToEnd) open(ctx context.Context) error {
	set, err := components.Build(ctx, components.Config{
		Source: filepath.Join(e.root, "kube"), Dir: filepath.Join(e.state, "kube"), Only: []string{"e2e"},
	})
	if err != nil {
		return err
	}
	e.ginkgo, e.tests, e.version = set.Path("ginkgo"), set.Path("e2e.test"), set[0].Version
	return os.WriteFile(e.repositories(), []byte(repositories), 0o600)
}

// repositories tells the tests which registry has their images: that of the
// installation, under the name that nodes know it by.
const repositories = `
promoterE2eRegistry: 127.0.0.1:5000/e2e-test-images
buildImageRegistry: 127.0.0.1:5000/build-image
invalidRegistry: 127.0.0.1:5000/invalid
gcEtcdRegistry: 127.0.0.1:5000
gcRegistry: 127.0.0.1:5000
`

func (e *endToEnd) repositories() string { return filepath.Join(e.work, "repositories.yaml") }

// conformance lists the tests that a conformant cluster passes.
func (e *endToEnd) conformance(ctx context.Context) (names []string, err error) {
	raw, err := command(ctx, e.work, nil, e.tests, "--list-conformance-tests")
	if err != nil {
		return nil, err
	}
	var list []struct{ Codename string }
	if err := yaml.Unmarshal([]byte(raw), &list); err != nil {
		return nil, fmt.Errorf("list of conformance tests: %w", err)
	}
	for _, t := range list {
		names = append(names, t.Codename)
	}
	return names, nil
}

// run makes a cluster, and gives what the tests with these names came to, as far
// as they came in time.
func (e *endToEnd) run(ctx context.Context, names []string) (map[string]outcome, error) {
	registry, stop, err := e.serve(ctx, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := e.push(ctx, registry); err != nil {
		return nil, err
	}
	const name = "conformance"
	_, _ = e.own(ctx, "cluster", "delete", name, "--quiet") // of a run that was killed
	defer func() { _, _ = e.own(context.WithoutCancel(ctx), "cluster", "delete", name, "--quiet") }()
	if _, err := e.own(ctx, "cluster", "create", "--name", name, "--nodes", fmt.Sprint(e.nodes), "--no-kubeconfig"); err != nil {
		return nil, err
	}
	config, err := e.own(ctx, "cluster", "kubeconfig", name)
	if err != nil {
		return nil, err
	}
	kubeconfig, kubectl := filepath.Join(e.work, "kubeconfig"), filepath.Join(e.work, "kubectl")
	if err := errors.Join(os.WriteFile(kubeconfig, []byte(config), 0o600),
		os.Symlink(filepath.Join(e.state, "clusters", name, "programs/bin/kube"), kubectl)); err != nil {
		return nil, err
	}
	said, ran := command(ctx, e.work, []string{"KUBE_TEST_REPO_LIST=" + e.repositories()}, e.ginkgo,
		fmt.Sprintf("--procs=%d", e.procs), "--timeout="+e.patience.String(), "--focus="+focus(names), "--output-dir="+e.work, "--json-report=report.json",
		"--no-color", "--silence-skips", e.tests, "--",
		"--kubeconfig="+kubeconfig, "--kubectl-path="+kubectl, "--provider=skeleton", "--disable-log-dump", "--dump-logs-on-failure=false",
		fmt.Sprintf("--num-nodes=%d", e.nodes), "--report-dir="+e.work)
	raw, err := os.ReadFile(filepath.Join(e.work, "report.json"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the tests left no report: %.2000s", said), err, ran)
	}
	return outcomes(raw)
}

// focus matches these names: ginkgo has that of the suite before them.
func focus(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "(" + strings.Join(quoted, "|") + ")$"
}

// own calls our program.
func (e *endToEnd) own(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.holdfast, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+e.state)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("holdfast %s: %w: %s", strings.Join(args, " "), err, problems.String())
	}
	return string(out), err
}

// serve starts the registry.
func (e *endToEnd) serve(ctx context.Context, listen string) (registry string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, e.holdfast, "serve", "--json", "--registry-listen", listen, "--broker-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+e.state)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Cancel(); _ = cmd.Wait() }
	var ready struct{ Registry string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&ready); err != nil {
		stop()
		return "", nil, fmt.Errorf("serve: %w: %s", err, problems.String())
	}
	return strings.TrimPrefix(ready.Registry, "http://"), stop, nil
}

// recipes are those of images that are called otherwise.
var recipes = map[string]string{
	"pause":             "images/pause",
	"glibc-dns-testing": "test/conformance/images/agnhost",
}

func (e *endToEnd) pushAs(ctx context.Context, layout, name string) error {
	_, err := e.own(ctx, "image", "push", "oci:"+layout, name, "--quiet")
	return err
}

// push builds each image that tests ask for and that there is a recipe of once, and
// pushes it under all names that it is asked for by.
func (e *endToEnd) push(ctx context.Context, registry string) error {
	raw, err := command(ctx, e.work, []string{"KUBE_TEST_REPO_LIST=" + e.repositories()}, e.tests, "--list-images")
	if err != nil {
		return err
	}
	names := strings.Fields(raw)
	slices.Sort(names)
	built := map[string]string{}
	for _, name := range slices.Compact(names) {
		path, ours := strings.CutPrefix(name, "127.0.0.1:5000/")
		if !ours {
			continue
		}
		short, _, _ := strings.Cut(filepath.Base(path), ":")
		recipe, called := recipes[short]
		if !called {
			recipe = filepath.Join("test/conformance/images", short)
		}
		dir := filepath.Join(e.root, recipe)
		if _, err := os.Stat(dir); err != nil {
			continue // for tests of other groups
		}
		if built[dir] == "" {
			built[dir] = filepath.Join(e.work, "image-"+short)
			if _, err := e.own(ctx, "image", "build", dir, "-o", built[dir], "--quiet"); err != nil {
				return err
			}
		}
		if err := e.pushAs(ctx, built[dir], registry+"/"+path); err != nil {
			return err
		}
	}
	return nil
}
