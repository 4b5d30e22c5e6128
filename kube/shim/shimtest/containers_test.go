package shimtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"

	"holdfast/internal/machine/qemu"
)

const several = `apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: hello from what was measured}
---
apiVersion: v1
kind: Pod
metadata: {name: several}
spec:
  hostname: several
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  volumes:
    - {name: words, configMap: {name: words}}
    - {name: shared, emptyDir: {}}
  initContainers:
    - name: first
      image: ` + registry + `/box:1
      command: [busybox, sh, -c, "cp /words/greeting /shared/greeting && echo prepared"]
      volumeMounts: [{name: words, mountPath: /words}, {name: shared, mountPath: /shared}]
  containers:
    - name: app
      image: ` + registry + `/box:1
      command: [busybox, sh, -c, "cat /shared/greeting; echo; busybox id -u; echo $OWN; echo $EVIL; exit 3"]
      env: [{name: OWN, value: own}]
      volumeMounts: [{name: shared, mountPath: /shared}]
    - name: quiet
      image: ` + registry + `/box:1
      command: [busybox, sh, -c, "echo canary-of-quiet; exec busybox sleep 1000"]
`

// A declared container is one of a manifest, as a kubelet would ask for it.
type declared struct {
	Name, Image   string
	Command, Args []string
	Env           []struct{ Name, Value string }
	VolumeMounts  []struct{ MountPath string }
}

// A started is a pod's machine under test.
type started struct {
	*lab
	ctx    context.Context
	id     string
	config *cri.PodSandboxConfig
	first  []declared // initial containers
	all    []declared
	tune   func(*cri.ContainerConfig) // what is asked beside what is declared; nil: nothing
}

func (l *lab) run1(ctx context.Context, s sealed, name string) *started {
	l.Helper()
	var p struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct{ InitContainers, Containers []declared }
	}
	for _, document := range strings.Split(s.Manifest, "\n---\n") {
		if strings.Contains(document, "kind: Pod") {
			l.check(yaml.Unmarshal([]byte(document), &p))
		}
	}
	config := l.sandbox(p.Metadata.Annotations)
	config.Metadata.Name = name
	box, err := l.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: "holdfast"})
	l.check(err)
	l.Cleanup(func() {
		_, _ = l.runtime.StopPodSandbox(context.Background(), &cri.StopPodSandboxRequest{PodSandboxId: box.PodSandboxId})
		_, err = l.runtime.RemovePodSandbox(context.Background(), &cri.RemovePodSandboxRequest{PodSandboxId: box.PodSandboxId})
		l.check(err)
	})
	return &started{l, ctx, box.PodSandboxId, config, p.Spec.InitContainers, p.Spec.Containers, nil}
}

// start creates and starts a container as it is declared.
func (s *started) start(d declared) (id string, err error) {
	s.Helper()
	image := &cri.ImageSpec{Image: d.Image, UserSpecifiedImage: d.Image, RuntimeHandler: "holdfast"}
	if _, err := s.images.PullImage(s.ctx, &cri.PullImageRequest{Image: image, SandboxConfig: s.config}); err != nil {
		return "", err
	}
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: d.Name, Attempt: uint32(time.Now().UnixNano())}, Image: image, Command: d.Command, Args: d.Args, LogPath: d.Name + ".log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{RunAsUser: &cri.Int64Value{Value: 1000}, RunAsGroup: &cri.Int64Value{Value: 1000}}},
	}
	for _, v := range d.Env {
		config.Envs = append(config.Envs, &cri.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	for _, m := range d.VolumeMounts {
		config.Mounts = append(config.Mounts, &cri.Mount{ContainerPath: m.MountPath, HostPath: s.config.LogDirectory})
	}
	if s.tune != nil {
		s.tune(config)
	}
	c, err := s.runtime.CreateContainer(s.ctx, &cri.CreateContainerRequest{PodSandboxId: s.id, SandboxConfig: s.config, Config: config})
	if err != nil {
		return "", err
	}
	_, err = s.runtime.StartContainer(s.ctx, &cri.StartContainerRequest{ContainerId: c.ContainerId})
	return c.ContainerId, err
}

// ends waits for a container's end and returns its code.
func (s *started) ends(id string) (code int32) {
	s.Helper()
	s.await("the end of a container", func() bool {
		c, err := s.runtime.ContainerStatus(s.ctx, &cri.ContainerStatusRequest{ContainerId: id})
		s.check(err)
		code = c.Status.ExitCode
		return c.Status.State == cri.ContainerState_CONTAINER_EXITED
	})
	return code
}

func (s *started) refused(d declared, want string) {
	s.Helper()
	if _, err := s.start(d); err == nil || !strings.Contains(err.Error(), want) {
		s.Errorf("%+v: got %v, want %q", d, err, want)
	}
}

func (s *started) log(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.config.LogDirectory, name+".log"))
	return string(text)
}

// Containers of one machine, in their order, with what they share; and a node that
// tries to have them otherwise.
func TestAPodHasItsContainersAndNoOthers(t *testing.T) {
	l := newLab(t)
	l.machines()
	box := filepath.Join(l.dir, "box")
	l.hf("image", "build", filepath.Join(root, "test", "cluster", "testdata", "box"), "-o", box)
	l.hf("image", "push", box, registry+"/box:1", "--ca", l.ca())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	socket := l.plugs()
	s := l.run1(ctx, l.seal(several, "--no-logs", "quiet"), "several")
	_, err := qemu.Ask(ctx, socket, "device_add", map[string]string{"driver": "virtio-blk-pci", "bus": "hot", "drive": "third"})
	l.check(err)

	app := s.all[0]
	s.refused(app, "first, which comes first, has not ended well")
	id, err := s.start(s.first[0])
	l.check(err)
	if code := s.ends(id); code != 0 {
		t.Fatalf("the initial container ended with %d: %s", code, s.log("first"))
	}
	other := app
	other.Command = []string{"busybox", "sh", "-c", "cat /proc/1/environ"}
	s.refused(other, "arguments are")
	other = app
	other.Env = append(other.Env[:len(other.Env):len(other.Env)], struct{ Name, Value string }{"EVIL", "x"})
	s.refused(other, "variable EVIL is not as the measured configuration has it")
	other = app
	other.VolumeMounts = append(other.VolumeMounts[:len(other.VolumeMounts):len(other.VolumeMounts)], struct{ MountPath string }{"/etc/evil"})
	s.refused(other, "mount /etc/evil is not in the measured configuration")
	other = app
	other.VolumeMounts = append(other.VolumeMounts[:len(other.VolumeMounts):len(other.VolumeMounts)], struct{ MountPath string }{"/shared/../etc"})
	s.refused(other, "is not in the measured configuration")
	other = app
	other.Image = l.other()
	s.refused(other, "the measured configuration has sha256:")
	other = app
	other.Name = "another"
	s.refused(other, "the measured configuration has none of that name")

	for range 2 { // once more, as a restart
		if id, err = s.start(app); err != nil {
			t.Fatal(err)
		}
		if code := s.ends(id); code != 3 {
			t.Fatalf("got code %d, want 3", code)
		}
		_, err = l.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
		l.check(err)
	}
	for _, want := range []string{"hello from what was measured", "1000", "own"} {
		if strings.Count(s.log("app"), want) != 2 {
			t.Errorf("%q is not there twice in the log: %s", want, s.log("app"))
		}
	}
	quiet := s.all[1]
	id, err = s.start(quiet)
	l.check(err)
	s.refused(quiet, "runs already")
	l.await("why there is no output", func() bool {
		return strings.Contains(s.log("quiet"), "the measured configuration keeps this output in its machine")
	})
	if text := s.log("quiet"); strings.Contains(text, "canary-of-quiet") {
		t.Errorf("got output that the configuration keeps: %s", text)
	}
	for _, args := range [][]string{{"busybox", "sh"}, {"tar", "xf", "-", "-C", "/"}} { // as exec and cp have them
		if _, err := s.exec(id, args...); err == nil || !strings.Contains(err.Error(), "is not in the measured configuration") {
			t.Errorf("%q: got %v, want it refused", args, err)
		}
	}
	_, err = l.runtime.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: id, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 1 << 30}})
	if err == nil || !strings.Contains(err.Error(), `call "update" is not allowed by the measured configuration`) {
		t.Errorf("a resize: got %v, want it refused", err)
	}
	s.recorded("has not ended well", "arguments are", "variable EVIL", "mount /etc/evil", "image is sha256:",
		`"another": the measured configuration has none`, "runs already", `command ["busybox" "sh"] is not`, `command ["tar"`, `call "update" is not allowed`,
		"has a disk that is not this machine's: it is removed", `device "0000:01:00.0" came too late: it is removed`)
}

// plugs has the node give machines a second disk, and lets it plug in a third, at the
// socket: by a program in QEMU's place that gives QEMU more words.
func (l *lab) plugs() (socket string) {
	l.Helper()
	real, err := exec.LookPath("qemu-system-x86_64")
	l.check(err)
	socket = filepath.Join(l.dir, "qmp")
	program := l.write("hostile/qemu-system-x86_64", fmt.Sprintf(`#!/bin/sh
case "$*" in *node-name=disk*)
	set -- "$@" -qmp unix:%s,server=on,wait=off -device pcie-root-port,id=hot,chassis=1 \
		-blockdev driver=null-co,node-name=second,size=16777216 -device virtio-blk-pci,drive=second \
		-blockdev driver=null-co,node-name=third,size=16777216 ;;
esac
exec %s "$@"
`, socket, real))
	l.check(os.Chmod(program, 0o755))
	return socket
}

// other is the name of an image that the pod does not have.
func (l *lab) other() string {
	l.Helper()
	l.encrypt()
	var p pod
	l.check(yaml.Unmarshal([]byte(l.seal(redis, "--no-allow").Manifest), &p))
	return p.Spec.Containers[0].Image
}

// recorded wants a line of the machine's console for each attempt that it refused. The
// console is slower than the answers.
func (s *started) recorded(all ...string) {
	s.Helper()
	s.await(fmt.Sprintf("a refusal on record with each of %q", all), func() bool {
		refusals := s.refusals()
		return !slices.ContainsFunc(all, func(want string) bool {
			return !slices.ContainsFunc(refusals, func(r string) bool { return strings.Contains(r, want) })
		})
	})
}

// refusals are what the machine's console says of them.
func (s *started) refusals() (list []string) {
	s.Helper()
	var console string
	s.check(filepath.WalkDir(s.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == "console.log" {
			var raw []byte
			raw, err = os.ReadFile(path)
			console += string(raw)
		}
		if os.IsNotExist(err) {
			err = nil
		}
		return err
	}))
	for line := range strings.Lines(console) {
		if _, words, ok := strings.Cut(line, "control: refused: "); ok {
			list = append(list, strings.TrimSpace(words))
		}
	}
	return list
}
