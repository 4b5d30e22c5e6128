package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// many are pods that do nothing.
const many = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 10
  selector: {matchLabels: {app: many}}
  strategy: {rollingUpdate: {maxSurge: 0}}
  template:
    metadata: {labels: {app: many}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true, runAsUser: 65535, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: pause
          image: IMAGE
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// A load is what the nodes of a cluster have of this machine.
type load struct{ processes, mounts, links, groups, memory int }

func (l load) String() string {
	return fmt.Sprintf("%d processes, %d mounts, %d links, %d control groups, %d MB resident", l.processes, l.mounts, l.links, l.groups, l.memory>>10)
}

// pauseForm finds the image of pause in containerd's settings.
var pauseForm = regexp.MustCompile(`sandbox = '([^']+)'`)

// Three hundred pods come and go, and nothing of them stays.
func TestThreeHundredPodsComeAndGo(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("takes a quarter of an hour: run make soak")
	}
	l := newLab(t)
	const name = "test-many"
	l.create(name, "--nodes", "2")
	settings, err := os.ReadFile(filepath.Join(l.dir(name), "nodes", name+"-1", "etc", "containerd.toml"))
	check(t, err)
	l.apply(name, strings.Replace(many, "IMAGE", pauseForm.FindStringSubmatch(string(settings))[1], 1))
	l.scale(name, 10)
	l.scale(name, 0)
	before := l.load(name)
	t.Logf("before: %v", before)
	began := time.Now()
	l.scale(name, 300)
	t.Logf("300 pods after %v: %v", time.Since(began).Round(time.Second), l.load(name))
	began = time.Now()
	l.scale(name, 0)
	t.Logf("none after %v: %v", time.Since(began).Round(time.Second), l.load(name))
	l.eventually("what there was before", 5*time.Minute, func() error {
		now := l.load(name)
		if now.processes > before.processes || now.mounts > before.mounts || now.links > before.links || now.groups > before.groups ||
			now.memory > before.memory*5/4 {
			return errors.New(now.String())
		}
		return nil
	})
	t.Logf("after: %v", l.load(name))
}

// scale waits until there are n pods, and no other's remains.
func (l *lab) scale(cluster string, n int) {
	l.Helper()
	l.kubectl(cluster, "scale", "deployment/many", fmt.Sprintf("--replicas=%d", n))
	l.eventually(fmt.Sprintf("%d pods", n), 20*time.Minute, func() error {
		ready := l.kubectl(cluster, "get", "deployment", "many", "-o", "jsonpath={.status.readyReplicas}")
		there := len(strings.Fields(l.kubectl(cluster, "get", "pods", "-l", "app=many", "-o", "name")))
		if got, _ := strconv.Atoi(ready); got != n || there != n { // no replica is no text
			return fmt.Errorf("%d ready of %d", got, there)
		}
		return nil
	})
}

// load adds up all nodes.
func (l *lab) load(cluster string) (sum load) {
	l.Helper()
	for _, pid := range l.pids(cluster) {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		check(l.TB, err)
		links, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
		check(l.TB, err)
		sum.mounts += bytes.Count(mounts, []byte("\n"))
		sum.links += bytes.Count(links, []byte("\n"))
		group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		check(l.TB, err)
		own := regexp.MustCompile(`/holdfast/[0-9a-f]{8}/[^/\n]+`).FindString(string(group))
		_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && strings.Contains(path, own) {
				sum.groups++
			}
			return nil
		})
		processes, memory := l.members(own)
		sum.processes, sum.memory = sum.processes+processes, sum.memory+memory
	}
	return sum
}

// members counts the processes of a control group and those below it, and the KiB that
// they have resident.
func (l *lab) members(group string) (n, memory int) {
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	check(l.TB, err)
	for _, path := range all {
		raw, _ := os.ReadFile(path)
		if !strings.Contains(string(raw), group) {
			continue
		}
		n++
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		for line := range strings.Lines(string(status)) {
			var kib int
			if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
				memory += kib
			}
		}
	}
	return n, memory
}
