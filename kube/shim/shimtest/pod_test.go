package shimtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

const redis = `apiVersion: v1
kind: Pod
metadata: {name: redis}
spec:
  containers:
    - name: redis
      image: ` + registry + `/redis:enc
      ports: [{containerPort: 6379}]
      securityContext: {runAsUser: 999}
`

// A pod is a sealed one as a kubelet reads it.
type pod struct {
	Metadata struct{ Annotations map[string]string }
	Spec     struct {
		Containers []struct{ Name, Image string }
	}
}

// encrypt brings Redis to the registry, for machines that the broker lets have its key.
func (l *lab) encrypt() {
	l.Helper()
	plain := filepath.Join(l.dir, "redis")
	l.hf("image", "build", filepath.Join(root, "images", "redis"), "-o", plain)
	l.hf("image", "encrypt", plain, registry+"/redis:enc", "--recipient", "kbs", "--ca", l.ca())
}

func (l *lab) sandbox(annotations map[string]string) *cri.PodSandboxConfig {
	l.Helper()
	logs := filepath.Join(l.dir, "logs")
	l.check(os.MkdirAll(logs, 0o755))
	return &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "redis", Uid: "uid-1", Namespace: "default"}, Annotations: annotations,
		LogDirectory: logs, PortMappings: []*cri.PortMapping{{ContainerPort: 6379}}, Linux: &cri.LinuxPodSandboxConfig{},
	}
}

// What is decided before there is a machine.
func TestTheNodeFetchesNoLayerAndRunsNothingUnsealed(t *testing.T) {
	l := newLab(t)
	l.encrypt()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := l.sandbox(nil)
	_, err := l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "holdfast"})
	if err == nil || !strings.Contains(err.Error(), "the pod has no measured configuration") {
		t.Errorf("a pod that nobody sealed: got %v", err)
	}
	image := &cri.ImageSpec{Image: registry + "/redis:enc", RuntimeHandler: "holdfast"}
	_, err = l.images.PullImage(ctx, &cri.PullImageRequest{Image: image, SandboxConfig: config})
	l.check(err)
	size := int64(0)
	l.check(filepath.WalkDir(filepath.Join(l.dir, "root", "io.containerd.content.v1.content", "blobs"), func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		size += info.Size()
		return err
	}))
	if size == 0 || size > 64<<10 {
		t.Errorf("the node has %d bytes of the image, want its manifest and config alone", size)
	}
	s := l.seal(redis)
	if len(s.Pods) != 1 || !strings.Contains(s.Manifest, "runtimeClassName: holdfast") || !strings.Contains(s.Manifest, "redis@sha256:") {
		t.Errorf("got %+v", s)
	}
}

// A confidential pod, from an image that only its machine can open, by the CRI alone.
func TestAnEncryptedImageRunsAsAPod(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute: run make test-cluster")
	}
	l := newLab(t)
	l.machines()
	l.encrypt()
	l.hf("broker", "set", "--replace", "redis/secret/conf", l.write("redis.conf", "requirepass canary-7f3a\n"))
	s := l.seal(redis, "--secret", "redis/redis.conf=kbs:///redis/secret/conf")
	var p pod
	l.check(yaml.Unmarshal([]byte(s.Manifest), &p))

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	config := l.sandbox(p.Metadata.Annotations)
	began := time.Now()
	box, err := l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "holdfast"})
	l.check(err)
	t.Logf("the pod's machine takes calls after %v", time.Since(began).Round(time.Millisecond))
	defer func() {
		_, err := l.runtime.StopPodSandbox(context.Background(), &cri.StopPodSandboxRequest{PodSandboxId: box.PodSandboxId})
		l.check(err)
		_, err = l.runtime.RemovePodSandbox(context.Background(), &cri.RemovePodSandboxRequest{PodSandboxId: box.PodSandboxId})
		l.check(err)
	}()
	image := &cri.ImageSpec{Image: p.Spec.Containers[0].Image, RuntimeHandler: "holdfast"}
	pulled, err := l.images.PullImage(ctx, &cri.PullImageRequest{Image: image, SandboxConfig: config})
	l.check(err)
	container, err := l.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: box.PodSandboxId, SandboxConfig: config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "redis"}, Image: &cri.ImageSpec{Image: pulled.ImageRef, UserSpecifiedImage: image.Image, RuntimeHandler: "holdfast"},
		LogPath: "redis.log", Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 999}}},
	}})
	l.check(err)
	_, err = l.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: container.ContainerId})
	l.check(err)
	t.Logf("it runs after %v", time.Since(began).Round(time.Millisecond))
	logs := filepath.Join(config.LogDirectory, "redis.log")
	l.await("the container's output", func() bool {
		text, _ := os.ReadFile(logs)
		return strings.Contains(string(text), "Ready to accept connections")
	})
	status, err := l.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: box.PodSandboxId})
	l.check(err)
	l.await("Redis at the pod's address", answers("tcp", status.Status.Network.Ip+":6379"))

	_, err = l.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container.ContainerId, Cmd: []string{"/bin/sh"}})
	if err == nil || !strings.Contains(err.Error(), `command ["/bin/sh"] is not in the measured configuration`) {
		t.Errorf("exec: got %v, want that the measured configuration does not allow it", err)
	}
	if _, err = l.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: container.ContainerId, Timeout: 10}); err != nil {
		t.Error(err)
	}
	ended, err := l.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container.ContainerId})
	l.check(err)
	if ended.Status.State != cri.ContainerState_CONTAINER_EXITED || ended.Status.ExitCode != 0 {
		t.Errorf("got %v, code %d, want that it exited with 0", ended.Status.State, ended.Status.ExitCode)
	}
}
