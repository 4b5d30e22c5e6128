package shimtest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// usual is what people have in pods; %s is a sealed secret.
const usual = `apiVersion: v1
kind: Secret
metadata: {name: shut}
stringData: {password: %s}
---
apiVersion: v1
kind: Pod
metadata: {name: usual}
spec:
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  volumes:
    - {name: secrets, projected: {sources: [{secret: {name: shut, items: [{key: password, path: deep/password}]}}]}}
    - {name: data, emptyDir: {}}
  containers:
    - name: app
      image: ` + registry + `/box:1
      command:
        - busybox
        - sh
        - -c
        - |
          trap 'echo bye > /dev/termination-log; exit 7' TERM
          busybox mkdir /data/www
          echo pong > /data/www/index.html
          busybox httpd -p 8080 -h /data/www
          echo up
          while :; do busybox sleep 1; done
      volumeMounts: [{name: secrets, mountPath: /secrets}, {name: data, mountPath: /data}]
      livenessProbe: {exec: {command: [busybox, grep, -c, canary-of-secret, /secrets/deep/password]}}
    - name: talk
      image: ` + registry + `/box:1
      stdin: true
      command: [busybox, sh, -c, "while read line; do echo heard $line; done; exec busybox sleep 1000"]
    - name: greedy
      image: ` + registry + `/box:1
      command: [busybox, dd, if=/dev/zero, of=/dev/null, bs=64M]
      resources: {limits: {memory: 32Mi}}
`

// allowed are commands that the pod's owner lets the node start.
var allowed = []string{
	"--exec", `app=busybox cat /data/brought`,
	"--exec", `app={"args": ["busybox", "dd", "of=/data/brought", "bs=7", "count=1"], "streams": ["logs", "stdin"]}`,
	"--exec", `app={"args": ["busybox", "echo", "[a-z]+"], "pattern": true, "streams": ["logs"]}`,
	"--exec", `app={"args": ["busybox", "sh", "-c", "read x; busybox stty size; echo $TERM got $x"], "streams": ["logs", "stdin"], "terminal": true}`,
	"--exec", `app=busybox sleep 1000`,
}

// A pod under test that a user of Kubernetes would call usual.
func (l *lab) usual(ctx context.Context) *started {
	l.Helper()
	l.machines()
	box := filepath.Join(l.dir, "box")
	l.hf("image", "build", filepath.Join(root, "test", "cluster", "testdata", "box"), "-o", box)
	l.hf("image", "push", box, registry+"/box:1", "--ca", l.ca())
	l.hf("broker", "set", "--replace", "usual/secret/password", l.write("password", "canary-of-secret\n"))
	text := strings.TrimSpace(l.hf("secret", "seal", "kbs:///usual/secret/password"))
	return l.run1(ctx, l.seal(fmt.Sprintf(usual, text), allowed...), "usual")
}

func (s *started) mustStart(name string, tune func(*cri.ContainerConfig)) (id string) {
	s.Helper()
	s.tune = tune
	for _, d := range s.all {
		if d.Name == name {
			var err error
			id, err = s.start(d)
			s.check(err)
		}
	}
	return id
}

func (s *started) exec(id string, args ...string) (*cri.ExecSyncResponse, error) {
	return s.runtime.ExecSync(s.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: args, Timeout: 60})
}

// stream starts a command with the streams that are given.
func (s *started) stream(r *cri.ExecRequest) *stream {
	s.Helper()
	e, err := s.runtime.Exec(s.ctx, r)
	s.check(err)
	return s.dial(e.Url, "v4.channel.k8s.io")
}

func TestAPodIsAsAUserOfKubernetesExpects(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute: run make test-cluster")
	}
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	s := l.usual(ctx)
	words := l.write("words", "")
	app := s.mustStart("app", func(c *cri.ContainerConfig) {
		c.Mounts = append(c.Mounts, &cri.Mount{ContainerPath: "/dev/termination-log", HostPath: words})
	})
	l.await("the app", func() bool { return strings.Contains(s.log("app"), "up") })
	s.probes(app)
	s.commands(app)
	s.terminals(app)
	s.forwards()
	s.sizes(app)
	talk := s.mustStart("talk", func(c *cri.ContainerConfig) { c.Stdin = true })
	s.attaches(talk)
	s.ending(app, talk, words)
}

// Probes that ask by a command, and those that ask at the pod's address.
func (s *started) probes(app string) {
	s.Helper()
	r, err := s.exec(app, "busybox", "grep", "-c", "canary-of-secret", "/secrets/deep/password")
	s.check(err)
	if r.ExitCode != 0 || string(r.Stdout) != "1\n" {
		s.Errorf("the liveness probe: got code %d, %q, %q", r.ExitCode, r.Stdout, r.Stderr)
	}
	status, err := s.runtime.PodSandboxStatus(s.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: s.id})
	s.check(err)
	answer, err := http.Get("http://" + net.JoinHostPort(status.Status.Network.Ip, "8080") + "/")
	s.check(err)
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || string(text) != "pong\n" {
		s.Errorf("an httpGet probe: got %q, %v", text, err)
	}
}

func (s *started) commands(app string) {
	s.Helper()
	in := s.stream(&cri.ExecRequest{ContainerId: app, Cmd: []string{"busybox", "dd", "of=/data/brought", "bs=7", "count=1"}, Stdin: true, Stdout: true, Stderr: true})
	in.send(channelIn, []byte("by copy")) // this protocol cannot end input; tar would wait for that
	in.until(channelStatus, `"Success"`)
	for range 3 { // streams are free again each time
		r, err := s.exec(app, "busybox", "cat", "/data/brought")
		s.check(err)
		if string(r.Stdout) != "by copy" {
			s.Errorf("got %q, %q, want what was copied", r.Stdout, r.Stderr)
		}
	}
	if r, err := s.exec(app, "busybox", "echo", "hello"); err != nil || string(r.Stdout) != "hello\n" {
		s.Errorf("by a pattern: got %v, %v", r, err)
	}
	if _, err := s.runtime.ExecSync(s.ctx, &cri.ExecSyncRequest{ContainerId: app, Cmd: []string{"busybox", "sleep", "1000"}, Timeout: 1}); err == nil || !strings.Contains(err.Error(), "timeout") {
		s.Errorf("a command that takes too long: got %v", err)
	}
	for _, args := range [][]string{{"busybox", "sh"}, {"busybox", "echo", "HELLO"}, {"busybox", "echo", "a", "b"}, {"busybox", "cat", "/secrets/deep/password"}} {
		_, err := s.exec(app, args...)
		if err == nil || !strings.Contains(err.Error(), "is not in the measured configuration") {
			s.Errorf("%q: got %v, want it refused", args, err)
		}
	}
	if _, err := s.runtime.ExecSync(s.ctx, &cri.ExecSyncRequest{ContainerId: app, Cmd: nil}); err == nil {
		s.Error("a command of no words was run")
	}
}

func (s *started) terminals(app string) {
	s.Helper()
	on := s.stream(&cri.ExecRequest{ContainerId: app, Cmd: []string{"busybox", "sh", "-c", "read x; busybox stty size; echo $TERM got $x"}, Stdin: true, Stdout: true, Tty: true})
	on.resize(101, 37)
	time.Sleep(2 * time.Second) // the size comes by another way than input
	on.send(channelIn, []byte("hi\r"))
	on.until(channelOut, "xterm got hi")
	if !strings.Contains(on.got[channelOut].String(), "37 101") {
		s.Errorf("got %q, want a terminal of 37 lines of 101", on.got[channelOut].String())
	}
	no := s.stream(&cri.ExecRequest{ContainerId: app, Cmd: []string{"busybox", "echo", "hello"}, Stdout: true, Tty: true})
	no.until(channelStatus, "a terminal for command")
}

// forwards brings a port of the pod to who asks for it.
func (s *started) forwards() {
	s.Helper()
	f, err := s.runtime.PortForward(s.ctx, &cri.PortForwardRequest{PodSandboxId: s.id, Port: []int32{8080}})
	s.check(err)
	to := s.dial(f.Url, "v4.channel.k8s.io")
	to.until(0, "\x90\x1f") // the port's number
	to.send(0, []byte("GET / HTTP/1.0\r\n\r\n"))
	to.until(0, "pong")
}

func (s *started) attaches(talk string) {
	s.Helper()
	a, err := s.runtime.Attach(s.ctx, &cri.AttachRequest{ContainerId: talk, Stdin: true, Stdout: true, Stderr: true})
	s.check(err)
	to := s.dial(a.Url, "v4.channel.k8s.io")
	to.send(channelIn, []byte("a word\n"))
	to.until(channelOut, "heard a word")
}

// sizes are what a container takes, and that nobody changes what it may.
func (s *started) sizes(app string) {
	s.Helper()
	c, err := s.runtime.ContainerStats(s.ctx, &cri.ContainerStatsRequest{ContainerId: app})
	s.check(err)
	if c.Stats.GetMemory().GetWorkingSetBytes().GetValue() == 0 || c.Stats.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 {
		s.Errorf("got %v, want what the app takes", c.Stats)
	}
	p, err := s.runtime.PodSandboxStats(s.ctx, &cri.PodSandboxStatsRequest{PodSandboxId: s.id})
	s.check(err)
	if p.Stats.GetLinux().GetMemory().GetWorkingSetBytes().GetValue() == 0 {
		s.Errorf("got %v, want what the pod takes", p.Stats)
	}
	_, err = s.runtime.UpdateContainerResources(s.ctx, &cri.UpdateContainerResourcesRequest{ContainerId: app, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 1 << 30}})
	if err == nil || !strings.Contains(err.Error(), `call "update" is not allowed by the measured configuration`) {
		s.Errorf("a resize: got %v, want it refused", err)
	}
}

// ending are the ways in which containers end.
func (s *started) ending(app, talk, words string) {
	s.Helper()
	greedy := s.mustStart("greedy", nil)
	if code := s.ends(greedy); code != 137 {
		s.Errorf("without memory: got code %d, want 137", code)
	}
	if got := s.status(greedy); got.Reason != "OOMKilled" {
		s.Errorf("without memory: got reason %q", got.Reason)
	}
	_, err := s.runtime.StopContainer(s.ctx, &cri.StopContainerRequest{ContainerId: app, Timeout: 30})
	s.check(err)
	if got := s.status(app); got.ExitCode != 7 || got.Reason != "Error" {
		s.Errorf("asked to end: got code %d, reason %q, want 7, as it chose", got.ExitCode, got.Reason)
	}
	if said, err := os.ReadFile(words); err != nil || string(said) != "bye\n" {
		s.Errorf("its last words: got %q, %v", said, err)
	}
	_, err = s.exec(app, "busybox", "cat", "/data/brought")
	if err == nil {
		s.Error("a command ran in a container that has ended")
	}
	began := time.Now()
	_, err = s.runtime.StopContainer(s.ctx, &cri.StopContainerRequest{ContainerId: talk, Timeout: 2})
	s.check(err) // process 1 of a namespace hears no signal that it does not handle
	if got := s.status(talk); got.ExitCode != 137 || time.Since(began) < 2*time.Second {
		s.Errorf("deaf to what asks: got code %d after %v, want 137 once its time is over", got.ExitCode, time.Since(began))
	}
}

func (s *started) status(id string) *cri.ContainerStatus {
	s.Helper()
	c, err := s.runtime.ContainerStatus(s.ctx, &cri.ContainerStatusRequest{ContainerId: id})
	s.check(err)
	return c.Status
}
