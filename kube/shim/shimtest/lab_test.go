// Package shimtest holds the shim against containerd itself, by the CRI alone.
//
// It needs root and the cluster's programs, so it runs where HOLDFAST_TEST_KUBE=1
// asks for it: make test-cluster.
package shimtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"holdfast/internal/cluster/components"
)

const (
	bridge   = "hfshim0"
	address  = "10.77.77.1"
	registry = address + ":5071"
	broker   = address + ":8071"
)

// A lab is a node: containerd with our shim and snapshotter; and beside it an
// installation that serves a registry and a broker.
type lab struct {
	*testing.T
	dir, holdfast, programs string
	state                   string
	runtime                 cri.RuntimeServiceClient
	images                  cri.ImageServiceClient
}

// root is this checkout.
const root = "../../.."

func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_KUBE") == "" || os.Geteuid() != 0 {
		t.Skip("starts containerd and machines: run make test-cluster as root")
	}
	l := &lab{T: t, state: os.Getenv("HOLDFAST_STATE")}
	if l.state == "" {
		t.Fatal("HOLDFAST_STATE is not set: it keeps what is built")
	}
	var err error
	l.holdfast, err = filepath.Abs(filepath.Join(root, "bin", "holdfast"))
	l.check(err)
	set, err := components.Build(t.Context(), components.Config{
		Source: filepath.Join(root, "kube"), Dir: filepath.Join(l.state, "kube"), Only: []string{"containerd", "cni", "shim"},
	})
	l.check(err)
	if l.dir, err = os.MkdirTemp("/tmp", "hfshim-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.run("sh", "-c", "mount | grep "+l.dir+" | cut -d' ' -f3 | xargs -r -n1 umount -l || true")
		_ = os.RemoveAll(l.dir)
	})
	l.programs = filepath.Dir(set.Path("containerd-shim-holdfast-v2"))
	_ = exec.Command("ip", "link", "del", bridge).Run() // of a test that was killed
	l.run("ip", "link", "add", bridge, "type", "bridge")
	t.Cleanup(func() { l.run("ip", "link", "del", bridge) })
	l.run("ip", "address", "add", address+"/24", "dev", bridge)
	l.run("ip", "link", "set", bridge, "up")
	l.serve()
	l.node(set.Path("containerd"), filepath.Dir(set.Path("bridge")))
	return l
}

func (l *lab) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// run runs a program to its end and returns what it printed.
func (l *lab) run(name string, args ...string) string {
	l.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		l.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

func (l *lab) hf(args ...string) string {
	l.Helper()
	return l.run(l.holdfast, append([]string{"--state", l.state, "-q"}, args...)...)
}

// start starts a program that ends with the test.
func (l *lab) start(log, name string, args ...string) {
	l.Helper()
	f, err := os.Create(filepath.Join(l.dir, log))
	l.check(err)
	defer f.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = append(os.Environ(), "PATH="+l.hostile()+":"+l.programs+":"+filepath.Dir(name)+":"+os.Getenv("PATH"))
	l.check(cmd.Start())
	l.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		if l.Failed() {
			text, _ := os.ReadFile(filepath.Join(l.dir, log))
			l.Logf("%s:\n%s", log, text[max(0, len(text)-6000):])
		}
	})
}

func (l *lab) await(what string, ok func() bool) {
	l.Helper()
	const patience = 2 * time.Minute
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ok() {
			return
		}
	}
	l.Fatalf("%s: not after %v", what, patience)
}

func answers(network, at string) func() bool {
	return func() bool {
		c, err := net.Dial(network, at)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
}

func (l *lab) serve() {
	l.Helper()
	l.start("serve.log", l.holdfast, "--state", l.state, "-v", "serve", "--registry-listen", registry, "--broker-listen", broker)
	l.await("broker", answers("tcp", broker))
	l.await("registry", answers("tcp", registry))
}

// hostile is a folder of programs that come before all others: what a node that was
// broken into runs in their place.
func (l *lab) hostile() string { return filepath.Join(l.dir, "hostile") }

// ca is the file with the CA of registry and broker.
func (l *lab) ca() string { return filepath.Join(l.state, "keys", "tls.crt") }

func (l *lab) write(name, text string) string {
	l.Helper()
	path := filepath.Join(l.dir, name)
	l.check(os.MkdirAll(filepath.Dir(path), 0o755))
	l.check(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// pods is the shim's configuration, which machines writes.
func (l *lab) pods() string { return filepath.Join(l.dir, "pods.json") }

// machines composes the machine image, and has the broker trust it.
func (l *lab) machines() {
	l.Helper()
	l.write("pods.json", l.hf("pod", "node", "--guest", filepath.Join(root, "images", "guest")))
	l.hf("broker", "trust", filepath.Join(l.state, "images", "guest"))
}

// node starts the snapshotter and containerd.
func (l *lab) node(containerd, cni string) {
	l.Helper()
	l.write("hosts/"+registry+"/hosts.toml", fmt.Sprintf("server = \"https://%s\"\n[host.\"https://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = %q\n", registry, registry, l.ca()))
	l.write("net/10-pods.conflist", fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": %q, "isGateway": true,
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.77.77.0/24", "gateway": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, bridge, filepath.Join(l.dir, "ipam"), address))
	snapshots := filepath.Join(l.dir, "snapshots.sock")
	l.start("snapshotter.log", filepath.Join(l.programs, "containerd-shim-holdfast-v2"), "snapshotter", snapshots, filepath.Join(l.dir, "snapshots"))
	config := fmt.Sprintf(`version = 3
root = '%[1]s/root'
state = '%[1]s/state'
disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.erofs', 'io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp', 'io.containerd.internal.v1.tracing']
[grpc]
address = '%[1]s/c.sock'
[proxy_plugins.holdfast]
type = 'snapshot'
address = '%[2]s'
[plugins.'io.containerd.cri.v1.images']
snapshotter = 'overlayfs'
use_local_image_pull = true
[plugins.'io.containerd.cri.v1.images'.runtime_platforms.holdfast]
platform = 'linux/amd64'
snapshotter = 'holdfast'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '%[1]s/hosts'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['%[3]s']
conf_dir = '%[1]s/net'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = 'holdfast'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.holdfast]
runtime_type = 'io.containerd.holdfast.v2'
sandboxer = 'shim'
snapshotter = 'holdfast'
disable_pause_image_pull = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.holdfast.options]
ConfigPath = '%[4]s'
`, l.dir, snapshots, cni, l.pods())
	l.await("snapshotter", answers("unix", snapshots))
	l.start("containerd.log", containerd, "--config", l.write("containerd.toml", config))
	conn, err := grpc.NewClient("unix://"+filepath.Join(l.dir, "c.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	l.check(err)
	l.Cleanup(func() { _ = conn.Close() })
	l.runtime, l.images = cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	l.await("containerd", func() bool {
		s, err := l.runtime.Status(context.Background(), &cri.StatusRequest{})
		if err != nil {
			return false
		}
		for _, c := range s.GetStatus().GetConditions() {
			if !c.Status && c.Type != "ContainerdHasNoDeprecationWarnings" {
				return false
			}
		}
		return true
	})
}

// A sealed is what "pod seal" says.
type sealed struct {
	Manifest string
	Pods     []struct{ Configuration string }
}

func (l *lab) seal(manifest string, args ...string) (s sealed) {
	l.Helper()
	words := append([]string{"--json", "pod", "seal", "-f", l.write("pod.yaml", manifest), "--ca", l.ca(),
		"--pods-registry", "https://" + registry, "--pods-broker", "https://" + broker}, args...)
	l.check(json.Unmarshal([]byte(l.hf(words...)), &s))
	return s
}
