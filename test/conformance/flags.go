package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// kubernetesFlags say what part of Kubernetes' tests to run, and how.
type kubernetesFlags struct {
	on, cri      bool
	state, focus string
	inside       string // of the namespaces of cri: where it works
	nodes, procs int
	patience     time.Duration
	rest         bool
}

func (k *kubernetesFlags) register(f *flag.FlagSet) {
	f.BoolVar(&k.on, "kubernetes", false, "run Kubernetes' end-to-end tests, as root")
	f.BoolVar(&k.cri, "critest", false, "run the tests of container runtimes against containerd, as root")
	f.StringVar(&k.inside, "inside", "", "used by itself")
	f.StringVar(&k.state, "state", ".holdfast", "folder that keeps what is built")
	f.StringVar(&k.focus, "focus", "", "regular expression that names of tests match")
	f.IntVar(&k.nodes, "nodes", 1, "nodes of the cluster")
	f.IntVar(&k.procs, "procs", 4, "tests at once, but for those that want to be alone")
	f.DurationVar(&k.patience, "time", 9*time.Minute, "how long tests are started")
	f.BoolVar(&k.rest, "rest", false, "leave out tests that are known to pass")
}

// recordFile is beside the page.
const recordFile = "conformance-kubernetes.json"

func (k *kubernetesFlags) run(ctx context.Context, out string) error {
	match, err := regexp.Compile(k.focus)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "conformance-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	e, err := newEndToEnd(".", k.state, work)
	if err != nil {
		return err
	}
	e.nodes, e.procs, e.patience = k.nodes, k.procs, k.patience
	if err := e.open(ctx); err != nil {
		return err
	}
	path, nodes := filepath.Join(filepath.Dir(out), recordFile), fmt.Sprint(k.nodes)
	r, err := loadRecord(path)
	if err != nil {
		return err
	}
	all, err := e.conformance(ctx)
	if err != nil {
		return err
	}
	r.is(e.version, all)
	names := r.chosen(match, nodes, k.rest)
	if len(names) == 0 {
		return fmt.Errorf("no conformance test of %v matches %q, or all that do have passed", groups, k.focus)
	}
	results, err := e.run(ctx, names)
	if err != nil {
		return err
	}
	r.add(nodes, results)
	if err := r.save(path); err != nil {
		return err
	}
	if err := keep(out, r.section()); err != nil {
		return err
	}
	return verdict(len(names), results)
}

// verdict says whether all that was asked for passed.
func verdict(asked int, results map[string]outcome) error {
	failed := 0
	for _, o := range results {
		if !o.Passed {
			failed++
		}
	}
	if failed == 0 && len(results) == asked {
		return nil
	}
	return fmt.Errorf("of %d tests %d failed, and %d did not come to their end", asked, failed, asked-len(results))
}
