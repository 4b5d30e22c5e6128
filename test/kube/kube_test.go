// Package kube builds the programs of a cluster as "holdfast cluster create"
// does, and has them say who they are and answer one another.
//
// It takes ten minutes of a processor when nothing is built yet, so it runs
// where HOLDFAST_TEST_KUBE=1 asks for it: make test-cluster.
package kube

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/cluster/components"
	"holdfast/internal/progress"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// programs are built into the folder that "make" keeps state in.
func programs(t *testing.T, only ...string) components.Set {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_KUBE") == "" {
		t.Skip("builds Kubernetes: run make test-cluster")
	}
	state := os.Getenv("HOLDFAST_STATE")
	if state == "" {
		t.Fatal("HOLDFAST_STATE is not set: it keeps what is built")
	}
	set, err := components.Build(t.Context(), components.Config{
		Source: filepath.Join("..", "..", "kube"), Dir: filepath.Join(state, "kube"), Only: only, Progress: reporter{t},
	})
	check(t, err)
	return set
}

// A reporter logs what was built, and what that took.
type reporter struct{ *testing.T }

func (r reporter) Start(name string, _ int64, _ progress.Unit) progress.Step {
	return &step{T: r.T, name: name, begun: time.Now(), spent: processor(r.T)}
}

// A step is moved by one goroutine at a time: that which reads what go says.
type step struct {
	*testing.T
	name  string
	begun time.Time
	spent time.Duration
	count int64
}

func (s *step) Add(n int64) { s.count += n }
func (s *step) Note(string) {}
func (s *step) Fail()       {}
func (s *step) Done(string) {
	s.Logf("%s: %d packages compiled in %v, %v of a processor", s.name, s.count,
		time.Since(s.begun).Round(time.Second), (processor(s.T) - s.spent).Round(time.Second))
}

// processor is the time that programs took that this one waited for.
func processor(t *testing.T) time.Duration {
	var u syscall.Rusage
	check(t, syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestProgramsTellTheirVersions(t *testing.T) {
	set := programs(t)
	kube, containerd := set.Of("kube")[0], set.Of("containerd")[0].Version
	for _, c := range []struct{ program, args, want string }{
		{"kube", "apiserver --version", "Kubernetes " + kube.Version + "\n"},
		{"kube", "kube-controller-manager --version", "Kubernetes " + kube.Version + "\n"},
		{"kube", "kube-scheduler --version", "Kubernetes " + kube.Version + "\n"},
		{"kube", "kubelet --version", "Kubernetes " + kube.Version + "\n"},
		{"kube", "kube-proxy --version", "Kubernetes " + kube.Version + "\n"},
		{"kube", "kubectl version --client", "Client Version: " + kube.Version + "\n"},
		{"kube", "etcd --version", "etcd Version: 3.6."},
		{"containerd", "--version", containerd},
		{"containerd-shim-runc-v2", "-v", containerd},
		{"ctr", "--version", containerd},
	} {
		if got := run(t, set.Path(c.program), strings.Fields(c.args)...); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: got %q, want %q in it", c.program, c.args, got, c.want)
		}
	}
	for _, p := range set.Of("cni") {
		cmd := exec.CommandContext(t.Context(), p.Path)
		cmd.Env = []string{"CNI_COMMAND=VERSION"}
		cmd.Stdin = strings.NewReader("{}")
		out, err := cmd.Output()
		var said struct{ SupportedVersions []string }
		if err := json.Unmarshal(out, &said); err != nil || len(said.SupportedVersions) == 0 {
			t.Errorf("%s: got %s, %v, want the versions of CNI that it knows", p.Name, out, err)
		}
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}

func TestOneFileIsWhatItIsCalledBy(t *testing.T) {
	kube := programs(t).Path("kube")
	link := filepath.Join(t.TempDir(), "kubelet")
	check(t, os.Symlink(kube, link))
	if got := run(t, link, "--version"); !strings.HasPrefix(got, "Kubernetes v") {
		t.Errorf("as kubelet: got %q", got)
	}
	out, err := exec.CommandContext(t.Context(), kube, "kubeadm").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "components: etcd kube-apiserver") {
		t.Errorf("kubeadm: got %v, %s, want the components named", err, out)
	}
}

func TestGVisorTellsItsVersion(t *testing.T) {
	if testing.Short() {
		t.Skip("builds gVisor: run make test-cluster")
	}
	set := programs(t, "gvisor")
	if got := run(t, set.Path("runsc"), "--version"); !strings.Contains(got, set[0].Version) {
		t.Errorf("runsc: got %q, want %s in it", got, set[0].Version)
	}
	if got := run(t, set.Path("containerd-shim-runsc-v1"), "-v"); !strings.Contains(got, "Go version") {
		t.Errorf("its shim: got %q, want versions", got)
	}
}

func TestGVisorRunsAProgramOnItsOwnKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("builds gVisor: run make test-cluster")
	}
	if os.Getuid() != 0 {
		t.Skip("makes namespaces: run as root")
	}
	runsc := programs(t, "gvisor").Path("runsc")
	if got := run(t, runsc, "--root", t.TempDir(), "--ignore-cgroups", "--network=none", "do", "/bin/dmesg"); !strings.Contains(got, "Starting gVisor") {
		t.Errorf("dmesg: got %q, want gVisor's", got)
	}
}

// The tests that Kubernetes is held to, and what runs them: see test/conformance.
func TestEndToEndTestsTellTheirVersion(t *testing.T) {
	set := programs(t, "e2e")
	if got := run(t, set.Path("e2e.test"), "--version"); !strings.Contains(got, set[0].Version) {
		t.Errorf("e2e.test: got %q, want %s in it", got, set[0].Version)
	}
	if got := run(t, set.Path("ginkgo"), "version"); !strings.HasPrefix(got, "Ginkgo Version 2.") {
		t.Errorf("ginkgo: got %q", got)
	}
}
