package service

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sandboxapi "github.com/containerd/containerd/api/runtime/sandbox/v1"
	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"holdfast/internal/wiring/pod"
)

func sealedConfig() *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Annotations: map[string]string{Annotation: "document"},
		DnsConfig:   &cri.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"a.svc"}, Options: []string{"ndots:5", "edns0"}},
		Linux:       &cri.LinuxPodSandboxConfig{Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: 512 << 20, CpuQuota: 150000, CpuPeriod: 100000}},
	}
}

func TestAPodsLimitsSizeItsMachine(t *testing.T) {
	s, err := planned(sealedConfig())
	if err != nil {
		t.Fatal(err)
	}
	if string(s.Document) != "document" || s.Memory != 512+256 || s.CPUs != 2 || s.DNS.Ndots != 5 || len(s.DNS.Resolvers) != 1 || s.DNS.Search[0] != "a.svc" {
		t.Errorf("got %+v", s)
	}
}

func TestAMachineIsAsLargeAsLimitAndOverhead(t *testing.T) {
	for _, c := range []struct {
		limit, overhead int64
		want            int
	}{{0, 0, 0}, {0, 1 << 30, 0}, {64 << 20, 0, 320}, {64<<20 + 1, 0, 321}, {64 << 20, 128 << 20, 192}, {1 << 30, 1 << 30, 2048}} {
		if got := size(c.limit, c.overhead); got != c.want {
			t.Errorf("limit %d, overhead %d: got %d MiB, want %d", c.limit, c.overhead, got, c.want)
		}
	}
}

func TestLastWordsGoWhereAKubeletReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "words")
	if err := tell(path, "x"); err == nil {
		t.Error("a file was made that nobody asked for")
	}
	if err := os.WriteFile(path, []byte("from an earlier time"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tell(path, "bye"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "bye" {
		t.Errorf("got %q, %v, want bye", got, err)
	}
}

func TestPodsThatNoMachineCanBeAreRefused(t *testing.T) {
	unsealed := sealedConfig()
	unsealed.Annotations = nil
	if _, err := planned(unsealed); !errors.Is(err, pod.ErrNotSealed) {
		t.Errorf("without a configuration: got %v", err)
	}
	host := sealedConfig()
	host.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}}
	if _, err := planned(host); !errors.Is(err, errHostNetwork) {
		t.Errorf("on the node's network: got %v", err)
	}
}

func TestANodeIsToldWhatItsConfigurationLacks(t *testing.T) {
	raw, err := proto.Marshal(sealedConfig())
	if err != nil {
		t.Fatal(err)
	}
	request := &sandboxapi.CreateSandboxRequest{SandboxID: "id", BundlePath: t.TempDir(), Options: &anypb.Any{Value: raw}}
	path := filepath.Join(t.TempDir(), "pods.json")
	for content, want := range map[string]string{"": "no such file", "{": "unexpected end", `{"disk": "guest.img"}`: "want an absolute path"} {
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := sandboxes{newService(t.Context(), path, nil, nil)}
		if _, err := s.CreateSandbox(t.Context(), request); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
		_ = os.Remove(path)
	}
}

func TestAContainerWithoutAPodIsRefused(t *testing.T) {
	s := tasks{newService(t.Context(), "", nil, nil)}
	if _, err := s.Create(context.Background(), &taskapi.CreateTaskRequest{ID: "x"}); err == nil || !strings.Contains(err.Error(), "a container needs a pod") {
		t.Errorf("got %v", err)
	}
}

func TestTheNodesBeliefIsReadFromTheSpecification(t *testing.T) {
	bundle := t.TempDir()
	raw, err := json.Marshal(specs.Spec{
		Annotations: map[string]string{nameAnnotation: "app", imageAnnotation: "r:5000/app@sha256:aa"},
		Process:     &specs.Process{Args: []string{"/app"}, Env: []string{"A=1"}, Cwd: "/"},
		Mounts:      []specs.Mount{{Destination: "/data", Source: "/on/the/node"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	p, sources, err := believed(&taskapi.CreateTaskRequest{Bundle: bundle, Terminal: true})
	if err != nil || p.Container != "app" || p.Image != "sha256:aa" || !slices.Equal(p.Args, []string{"/app"}) || !slices.Equal(p.Env, []string{"A=1"}) || p.Workdir != "/" || !slices.Equal(p.Mounts, []string{"/data"}) || !p.Terminal || sources["/data"] != "/on/the/node" {
		t.Errorf("got %+v, %v", p, err)
	}
}
