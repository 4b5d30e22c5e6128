package cluster

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// web is a Deployment of the tools as a web server, and its Service.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: 127.0.0.1:5000/box:1
          args: [sh, -c, "echo started; echo $HOSTNAME > /tmp/index.html; exec busybox httpd -f -p 8080 -h /tmp"]
          ports: [{containerPort: 8080}]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], type: NodePort}
`

func (l *lab) rollOut(cluster string) (pods []string) {
	l.Helper()
	l.apply(cluster, web)
	began := time.Now()
	l.kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=240s")
	l.Logf("three pods after %v", time.Since(began).Round(100*time.Millisecond))
	return strings.Fields(l.kubectl(cluster, "get", "pods", "-l", "app=web", "-o", "name"))
}

// One node, from nothing and to nothing: what kubectl does works, what is
// forbidden is refused, each component may be killed.
func TestAClusterWorksAndLeavesNothingBehind(t *testing.T) {
	l := newLab(t)
	before := l.hostNow()
	l.serve()
	const name = "test-one"
	st := l.create(name)
	if !st.Ready || !strings.HasPrefix(st.Version, "v1.") || len(st.Nodes) != 1 {
		t.Fatalf("got %+v", st)
	}
	pods := l.rollOut(name)
	l.look(name, pods[0])
	l.guard(name, st.Server, st.Nodes[0].Address)
	l.close(name, pods[0])
	l.keep(name)
	l.killEach(name)
	if again := l.create(name); !again.Ready {
		t.Errorf("a second create: got %+v", again)
	}
	l.run(l.holdfast, "cluster", "delete", name)
	l.wantSame(before)
	if raw, _ := os.ReadFile(l.kubeconfig); strings.Contains(string(raw), name) {
		t.Errorf("kubeconfig still has the cluster:\n%s", raw)
	}
	if _, err := os.Stat(l.dir(name)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its folder: got %v", err)
	}
}

// look uses a pod as people do.
func (l *lab) look(cluster, pod string) {
	l.Helper()
	if got := l.kubectl(cluster, "logs", pod); got != "started\n" {
		l.Errorf("logs: got %q", got)
	}
	host := strings.TrimPrefix(pod, "pod/")
	if got := l.kubectl(cluster, "exec", pod, "--", "busybox", "hostname"); got != host+"\n" {
		l.Errorf("exec: got %q", got)
	}
	l.eventually("the Service by its name", time.Minute, func() error { // kube-proxy takes a moment for a new one
		got, err := l.tryKubectl(cluster, "exec", pod, "--", "busybox", "wget", "-qO-", "http://web.default.svc.cluster.local")
		if err == nil && !strings.HasPrefix(got, "web-") {
			err = errors.New("another answers")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, got)
		}
		return nil
	})
	forward := l.command(filepath.Join(l.dir(cluster), "programs/bin/kube"), "kubectl", "--context", "holdfast-"+cluster, "port-forward", pod, ":8080")
	out, err := forward.StdoutPipe()
	check(l.TB, err)
	check(l.TB, forward.Start())
	defer func() { _ = forward.Process.Kill(); _ = forward.Wait() }()
	var port int
	if _, err := fmt.Fscanf(out, "Forwarding from 127.0.0.1:%d", &port); err != nil {
		l.Fatalf("port-forward: %v", err)
	}
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	check(l.TB, err)
	defer answer.Body.Close()
	if got, err := io.ReadAll(answer.Body); string(got) != host+"\n" {
		l.Errorf("port-forward: got %q, %v", got, err)
	}
}

// guard tries what must not work.
func (l *lab) guard(cluster, server, node string) {
	l.Helper()
	anybody := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, url := range []string{server + "/version", server + "/readyz", "https://" + node + ":10250/pods"} {
		answer, err := anybody.Get(url)
		check(l.TB, err)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			l.Errorf("%s without a certificate: got %s", url, answer.Status)
		}
	}
	l.refused("violates PodSecurity", cluster, "run", "bad", "--image=127.0.0.1:5000/box:1")
	const canary = "canary-3f1c9a7e"
	l.kubectl(cluster, "create", "secret", "generic", "canary", "--from-literal=key="+canary)
	if got := l.kubectl(cluster, "get", "secret", "canary", "-o", "name"); got != "secret/canary\n" {
		l.Errorf("secret: got %q", got)
	}
	err := filepath.WalkDir(filepath.Join(l.dir(cluster), "nodes"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(path, "/containerd/") {
			return nil // files come and go while we look
		}
		if raw, err := os.ReadFile(path); err == nil && bytes.Contains(raw, []byte(canary)) {
			l.Errorf("the secret is in %s", path)
		}
		return nil
	})
	check(l.TB, err)
}

// close has a NetworkPolicy keep pods from one another, and takes it away again.
func (l *lab) close(cluster, pod string) {
	l.Helper()
	reach := func() error {
		out, err := l.tryKubectl(cluster, "exec", pod, "--",
			"sh", "-c", "busybox nc -w 2 web 80 </dev/null")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	l.eventually("the Service before a policy", time.Minute, reach)
	l.apply(cluster, "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed}, spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}}")
	l.eventually("a policy that closes", time.Minute, func() error {
		if reach() == nil {
			return errors.New("a pod still reaches the others")
		}
		return nil
	})
	l.kubectl(cluster, "delete", "networkpolicy", "closed")
	l.eventually("no policy any more", time.Minute, reach)
}

// volume is a claim and a pod that runs a command on it.
const volume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: box
      image: 127.0.0.1:5000/box:1
      args: [sh, -c, "COMMAND"]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

// keep writes to a volume of the default class in one pod, and reads in another.
func (l *lab) keep(cluster string) {
	l.Helper()
	for name, command := range map[string]string{"writer": "echo kept > /data/a", "reader": "until busybox cat /data/a; do busybox sleep 1; done"} {
		l.apply(cluster, strings.NewReplacer("NAME", name, "COMMAND", command).Replace(volume))
	}
	l.kubectl(cluster, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/writer", "pod/reader", "--timeout=180s")
	if got := l.kubectl(cluster, "logs", "reader"); !strings.HasSuffix(got, "kept\n") {
		l.Errorf("volume: got %q", got)
	}
}

// killEach kills one component after the other.
func (l *lab) killEach(cluster string) {
	l.Helper()
	for _, words := range [][]string{{"kubelet"}, {"/opt/holdfast/bin/containerd"}, {"kube-apiserver"}, {"etcd"}, {"kube-proxy"},
		{"kube-scheduler"}, {"kube-controller-manager"}, {"certify"}, {"/opt/holdfast/bin/holdfast-agent"},
		{"/opt/holdfast/bin/containerd-shim-runc-v2"}} {
		check(l.TB, syscall.Kill(l.process(cluster, words...), syscall.SIGKILL))
	}
	l.eventually("a new pod after all components were killed", 3*time.Minute, func() error {
		_, err := l.tryKubectl(cluster, "rollout", "restart", "deployment/web")
		return err
	})
	l.kubectl(cluster, "rollout", "status", "deployment/web", "--timeout=240s")
	l.kubectl(cluster, "wait", "--for=condition=Ready", "pods", "--all", "--namespace=kube-system", "--timeout=240s")
	l.eventually("a cluster that is ready after the kills", time.Minute, func() error {
		if st := l.status(cluster); !st.Ready {
			return fmt.Errorf("got %+v", st)
		}
		return nil
	})
}

// Three nodes beside another cluster.
func TestPodsOfThreeNodesTalkAndClustersDoNotMeet(t *testing.T) {
	long(t)
	l := newLab(t)
	before := l.hostNow()
	l.serve()
	const name, other = "test-three", "test-beside"
	st := l.create(name, "--nodes", "3")
	if !st.Ready || len(st.Nodes) != 3 {
		t.Fatalf("got %+v", st)
	}
	beside := l.create(other)
	pods := l.rollOut(name)
	addresses := strings.Fields(l.kubectl(name, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"))
	nodes := strings.Fields(l.kubectl(name, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	if len(pods) != 3 || nodes[0] == nodes[1] || nodes[1] == nodes[2] {
		t.Fatalf("pods are on %v", nodes)
	}
	for _, pod := range pods {
		for i, address := range addresses {
			got := l.kubectl(name, "exec", pod, "--", "busybox", "wget", "-qO-", "http://"+address+":8080")
			if got != strings.TrimPrefix(pods[i], "pod/")+"\n" {
				t.Errorf("%s asks %s: got %q", pod, pods[i], got)
			}
		}
	}
	reach := func(server string) error {
		host, port, _ := strings.Cut(strings.TrimPrefix(server, "https://"), ":")
		_, err := l.tryKubectl(name, "exec", pods[0], "--",
			"sh", "-c", "busybox nc -w 3 "+host+" "+port+" </dev/null")
		return err
	}
	if err := reach(st.Server); err != nil {
		t.Errorf("a pod does not reach its own API server: %v", err)
	}
	if reach(beside.Server) == nil {
		t.Error("a pod reaches the API server of another cluster")
	}
	l.run(l.holdfast, "cluster", "delete", name)
	l.run(l.holdfast, "cluster", "delete", other)
	l.wantSame(before)
}

// A create that is killed is finished by the next, or cleaned by delete.
func TestAKilledCreateIsFinishedOrCleaned(t *testing.T) {
	long(t)
	l := newLab(t)
	before := l.hostNow()
	const name = "test-killed"
	l.create(name) // all that takes long is built
	l.run(l.holdfast, "cluster", "delete", name)
	kill := func(after time.Duration) {
		cmd := l.command(l.holdfast, "cluster", "create", "--name", name, "--quiet")
		check(t, cmd.Start())
		time.Sleep(after)
		check(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	for _, after := range []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond, time.Second, 3 * time.Second} {
		kill(after)
		_, _ = l.try(l.holdfast, "cluster", "delete", name) // there may be nothing yet
		l.wantSame(before)
	}
	for range 3 {
		kill(600 * time.Millisecond)
	}
	if st := l.create(name); !st.Ready {
		t.Errorf("got %+v", st)
	}
}
