package guide

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The chapters on clusters are read apart: Kubernetes takes long to build.
func TestTheGuideSaysWhatClustersDo(t *testing.T) { readClusters(t, "cluster", "lab") }

func TestTheGuideSaysWhatClustersDoWithConfidentialPods(t *testing.T) {
	readClusters(t, "confidential-pods", "conf")
}

// readClusters reads a chapter, which makes and deletes a cluster.
func readClusters(t *testing.T, chapter, cluster string) {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_KUBE") == "" || os.Geteuid() != 0 || testing.Short() {
		t.Skip("starts Kubernetes: run make test-cluster, as root")
	}
	r := newReader(t)
	built, err := filepath.Abs(filepath.Join(os.Getenv("HOLDFAST_STATE"), "kube"))
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(built, "kube-*", "kube"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no kube in %s: run make kube", built)
	}
	bin := filepath.Join(r.home, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{filepath.Join(bin, "kubectl"): programs[0], filepath.Join(r.home, "state", "kube"): built} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(r.env, "KUBECONFIG=", "PATH="+filepath.Join(r.home, "holdfast", "bin")+":"+bin+":"+os.Getenv("PATH"))
	t.Cleanup(func() { // of a chapter that was not read to its end
		cmd := exec.Command(filepath.Join(root, "bin", "holdfast"), "cluster", "delete", cluster, "--quiet")
		cmd.Env = r.env
		_ = cmd.Run()
	})
	for _, s := range parse(t, filepath.Join(root, "docs", "guide", chapter+".md")) {
		r.do(t, s)
	}
}
