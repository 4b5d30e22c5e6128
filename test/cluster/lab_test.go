// Package cluster makes Kubernetes clusters of container machines as a person
// does, uses them by kubectl, breaks them, and looks at what is left.
//
// It needs root and the cluster's programs, so it runs where HOLDFAST_TEST_KUBE=1
// asks for it: make test-cluster.
package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const root = "../.."

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A lab is an installation with a registry, for one test.
type lab struct {
	testing.TB
	holdfast   string
	state      string
	kubeconfig string
	registry   string // where pushes go
}

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_KUBE") == "" {
		t.Skip("starts Kubernetes: run make test-cluster")
	}
	if os.Geteuid() != 0 {
		t.Skip("nodes are namespaces of this machine: run make test-cluster as root")
	}
	holdfast, err := filepath.Abs(filepath.Join(root, "bin", "holdfast"))
	check(t, err)
	l := &lab{TB: t, holdfast: holdfast, state: os.Getenv("HOLDFAST_STATE"), kubeconfig: filepath.Join(t.TempDir(), "config")}
	if l.state == "" {
		t.Fatal("HOLDFAST_STATE is not set: it keeps what is built")
	}
	return l
}

// long is a test that .ci/run has no time for.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes a minute or more: run make test-cluster")
	}
}

func (l *lab) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(l.Context(), name, args...)
	cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+l.state, "KUBECONFIG="+l.kubeconfig)
	return cmd
}

func (l *lab) try(name string, args ...string) (string, error) {
	out, err := l.command(name, args...).CombinedOutput()
	return string(out), err
}

// run wants the program to end well.
func (l *lab) run(name string, args ...string) string {
	l.Helper()
	out, err := l.try(name, args...)
	if err != nil {
		l.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

// create makes a cluster that is deleted with the test, and tells its status.
func (l *lab) create(name string, args ...string) status {
	l.Helper()
	l.Cleanup(func() {
		cmd := exec.Command(l.holdfast, "cluster", "delete", name, "--quiet")
		cmd.Env = append(os.Environ(), "HOLDFAST_STATE="+l.state)
		_ = cmd.Run() // a test that deleted it finds out by itself
	})
	began := time.Now()
	l.run(l.holdfast, append([]string{"cluster", "create", "--name", name}, args...)...)
	l.Logf("cluster create %s %v: %v", name, args, time.Since(began).Round(100*time.Millisecond))
	return l.status(name)
}

type status struct {
	Ready   bool
	Version string
	Server  string
	Host    string
	Nodes   []struct {
		Name, Address, Reason string
		Running, Ready        bool
	}
}

func (l *lab) status(name string) (st status) {
	l.Helper()
	out, _ := l.command(l.holdfast, "cluster", "status", name, "--json").Output() // not ready is exit code 1
	check(l.TB, json.Unmarshal(out, &st))
	return st
}

func (l *lab) dir(cluster string) string { return filepath.Join(l.state, "clusters", cluster) }

// kubectl is the cluster's own.
func (l *lab) kubectl(cluster string, args ...string) string {
	l.Helper()
	out, err := l.tryKubectl(cluster, args...)
	if err != nil {
		l.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (l *lab) tryKubectl(cluster string, args ...string) (string, error) {
	return l.try(filepath.Join(l.dir(cluster), "programs/bin/kube"), append([]string{"kubectl", "--context", "holdfast-" + cluster}, args...)...)
}

// refused wants kubectl to fail with want among its words.
func (l *lab) refused(want, cluster string, args ...string) {
	l.Helper()
	out, err := l.tryKubectl(cluster, args...)
	if err == nil || !strings.Contains(out, want) {
		l.Errorf("kubectl %s: got %v, %q, want it refused with %q", strings.Join(args, " "), err, out, want)
	}
}

// apply gives manifest to the cluster.
func (l *lab) apply(cluster, manifest string) {
	l.Helper()
	path := filepath.Join(l.TempDir(), "manifest.yaml")
	check(l.TB, os.WriteFile(path, []byte(manifest), 0o600))
	l.kubectl(cluster, "apply", "-f", path)
}

// eventually asks until it holds.
func (l *lab) eventually(what string, patience time.Duration, ask func() error) {
	l.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if err = ask(); err == nil {
			return
		}
	}
	l.Fatalf("%s: not after %v: %v", what, patience, err)
}

// serve starts the registry and pushes the tools that pods are.
func (l *lab) serve(words ...string) {
	l.Helper()
	cmd := l.command(l.holdfast, append([]string{"serve", "--json", "--registry-listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"}, words...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.StdoutPipe()
	check(l.TB, err)
	check(l.TB, cmd.Start())
	l.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	var ready struct{ Registry string }
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&ready); err != nil {
		l.Fatalf("serve: %v: %s", err, problems.String())
	}
	l.registry = strings.TrimPrefix(ready.Registry, "http://")
	l.push("testdata/box", "box")
}

// push builds a recipe's image and gives it to the registry.
func (l *lab) push(recipe, name string) {
	l.Helper()
	layout := filepath.Join(l.TempDir(), name)
	l.run(l.holdfast, "image", "build", recipe, "-o", layout)
	l.run(l.holdfast, "image", "push", "oci:"+layout, l.registry+"/"+name+":1")
}

// pid of the process 1 of a cluster's first node, as this machine has it.
func (l *lab) pid(cluster string) int {
	l.Helper()
	return l.pids(cluster)[0]
}

// pids are those of all nodes' process 1.
func (l *lab) pids(cluster string) (all []int) {
	l.Helper()
	raw, err := os.ReadFile(filepath.Join(l.dir(cluster), "cluster.json"))
	check(l.TB, err)
	var spec struct {
		Nodes []struct{ Machine struct{ PID int } }
	}
	check(l.TB, json.Unmarshal(raw, &spec))
	for _, n := range spec.Nodes {
		all = append(all, n.Machine.PID)
	}
	return all
}

// children of process 1 whose command line has all of words.
func (l *lab) process(cluster string, words ...string) int {
	l.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", l.pid(cluster)))
	check(l.TB, err)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", l.pid(cluster)))
	check(l.TB, err)
	for _, task := range tasks {
		more, _ := os.ReadFile(task)
		raw = append(append(raw, ' '), more...)
	}
	for _, pid := range strings.Fields(string(raw)) {
		line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		args := strings.Split(string(line), "\x00")
		if !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(args, w) }) {
			var n int
			_, err := fmt.Sscan(pid, &n)
			check(l.TB, err)
			return n
		}
	}
	l.Fatalf("node of %s runs no %v", cluster, words)
	return 0
}
