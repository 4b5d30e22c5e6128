package cluster

import (
	"strings"
	"testing"
)

// kernel is a pod that says which kernel it has.
const kernel = `
apiVersion: v1
kind: Pod
metadata: {name: sandboxed}
spec:
  runtimeClassName: gvisor
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  terminationGracePeriodSeconds: 1
  containers:
    - name: box
      image: 127.0.0.1:5000/box:1
      args: [sh, -c, "busybox dmesg; exec busybox httpd -f -p 8080 -h /tmp"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// Pods of RuntimeClass gvisor have gVisor's kernel, also where nobody has
// CAP_SYS_RESOURCE, and the others' network.
func TestAPodRunsOnGVisorsKernel(t *testing.T) {
	long(t)
	l := newLab(t)
	before := l.hostNow()
	l.serve()
	const name = "test-gvisor"
	l.create(name, "--gvisor")
	l.apply(name, kernel)
	l.kubectl(name, "wait", "--for=condition=Ready", "pod/sandboxed", "--timeout=60s")
	if got := l.kubectl(name, "logs", "sandboxed"); !strings.Contains(got, "Starting gVisor") {
		t.Errorf("dmesg: got %q", got)
	}
	if got := l.kubectl(name, "exec", "sandboxed", "--", "busybox", "nslookup", "kubernetes.default.svc.cluster.local"); !strings.Contains(got, "Address") {
		t.Errorf("the cluster's DNS: got %q", got)
	}
	l.kubectl(name, "delete", "pod", "sandboxed")
	l.run(l.holdfast, "cluster", "delete", name)
	l.wantSame(before)
}
