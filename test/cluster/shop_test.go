package cluster

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A shop is Redis with a volume and a front before it, on two nodes.
type shop struct {
	*lab
	cluster string
	url     string
}

func (l *lab) openShop(cluster string) *shop {
	l.Helper()
	st := l.create(cluster, "--nodes", "2")
	if !st.Ready || len(st.Nodes) != 2 {
		l.Fatalf("got %+v", st)
	}
	manifest, err := os.ReadFile("testdata/shop.yaml")
	check(l.TB, err)
	l.apply(cluster, string(manifest))
	l.kubectl(cluster, "rollout", "status", "statefulset/redis", "--timeout=90s")
	l.kubectl(cluster, "rollout", "status", "deployment/front", "--timeout=90s")
	port := l.kubectl(cluster, "get", "service", "front", "-o", "jsonpath={.spec.ports[0].nodePort}")
	return &shop{l, cluster, "http://" + st.Nodes[0].Address + ":" + port + "/cgi-bin/hits"}
}

// answerForm is what the front says: its edition, and what Redis said.
var answerForm = regexp.MustCompile(`^(\w+) \+OK\r\n:(\d+)\r\n\+OK\r\n$`)

// visit asks the front, which counts.
func (s *shop) visit() (edition string, count int, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(s.url)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", 0, err
	}
	m := answerForm.FindStringSubmatch(string(raw))
	if m == nil {
		return "", 0, fmt.Errorf("%s: %q", answer.Status, raw)
	}
	count, err = strconv.Atoi(m[2])
	return m[1], count, err
}

// want visits until the count, which only grows, has gone on after before.
func (s *shop) want(edition string, before int) int {
	s.Helper()
	var count int
	s.eventually("the front with what it counted", 60*time.Second, func() error {
		got, n, err := s.visit()
		if err == nil && (got != edition || n <= before) {
			err = fmt.Errorf("got edition %s and count %d, want %s and more than %d", got, n, edition, before)
		}
		count = n
		return err
	})
	return count
}

// An ordinary application lives an ordinary life: it comes up from nothing, is updated
// while it is asked, loses a pod, a node, and everything; and is made again.
func TestAnApplicationIsUpdatedDrainedAndMadeAgain(t *testing.T) {
	long(t)
	l := newLab(t)
	l.serve()
	l.push("../../images/redis", "redis")
	l.push("testdata/front", "front")
	before := l.hostNow()
	s := l.openShop("test-shop")
	count := s.want("first", 0)
	s.strangers()
	count = s.update(count)
	count = s.lose(count)
	s.drain(count)
	s.helm()
	l.run(l.holdfast, "cluster", "delete", s.cluster)
	l.wantSame(before)
	again := l.openShop("test-shop")
	if count := again.want("first", 0); count != 1 {
		t.Errorf("made again: got count %d, want 1", count)
	}
	l.run(l.holdfast, "cluster", "delete", s.cluster)
	l.wantSame(before)
}

// strangers reach the front, and not Redis.
func (s *shop) strangers() {
	s.Helper()
	s.kubectl(s.cluster, "run", "stranger", "--image=127.0.0.1:5000/box:1", "--overrides="+confined)
	s.kubectl(s.cluster, "wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s")
	s.kubectl(s.cluster, "exec", "stranger", "--", "sh", "-c", "busybox nc -w 3 front 80 </dev/null")
	s.refused("exit code 1", s.cluster, "exec", "stranger", "--", "sh", "-c", "busybox nc -w 3 redis 6379 </dev/null")
	s.kubectl(s.cluster, "delete", "pod", "stranger", "--now")
}

// confined is what Pod Security wants of a pod called stranger.
const confined = `{"spec":{"securityContext":{"runAsNonRoot":true,"runAsUser":1000,"seccompProfile":{"type":"RuntimeDefault"}},` +
	`"containers":[{"name":"stranger","image":"127.0.0.1:5000/box:1","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`

// update rolls a new edition out while the front is asked: nobody is turned away.
func (s *shop) update(count int) int {
	s.Helper()
	done := make(chan struct{})
	var asking sync.WaitGroup
	var asked int
	asking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
			asked++
			if _, _, err := s.visit(); err != nil {
				s.Errorf("while it was updated, visit %d: %v", asked, err)
			}
		}
	})
	s.kubectl(s.cluster, "set", "env", "deployment/front", "EDITION=second")
	s.kubectl(s.cluster, "rollout", "status", "deployment/front", "--timeout=120s")
	count = s.want("second", count)
	close(done)
	asking.Wait()
	s.Logf("%d visits while it was updated", asked)
	return count
}

// lose takes Redis's pod away: the next one has its volume.
func (s *shop) lose(count int) int {
	s.Helper()
	s.kubectl(s.cluster, "delete", "pod", "redis-0")
	s.kubectl(s.cluster, "rollout", "status", "statefulset/redis", "--timeout=90s")
	return s.want("second", count)
}

// drain empties the node that has no volume.
func (s *shop) drain(count int) {
	s.Helper()
	node := s.cluster + "-1"
	if s.kubectl(s.cluster, "get", "pod", "redis-0", "-o", "jsonpath={.spec.nodeName}") == node {
		node = s.cluster + "-2"
	}
	s.kubectl(s.cluster, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s")
	if left := s.kubectl(s.cluster, "get", "pods", "-A", "--field-selector=spec.nodeName="+node, "-o", "name"); left != "" {
		s.Errorf("%s was drained and has %s", node, left)
	}
	s.kubectl(s.cluster, "rollout", "status", "deployment/front", "--timeout=90s")
	s.want("second", count)
	s.kubectl(s.cluster, "uncordon", node)
}

// chartValues make helm's own sample chart a front that Pod Security takes.
const chartValues = `
image: {repository: 127.0.0.1:5000/front, tag: "1"}
service: {port: 8080}
podSecurityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// helm installs, changes and removes the chart that "helm create" writes.
func (s *shop) helm() {
	s.Helper()
	helm := os.Getenv("HOLDFAST_TEST_HELM")
	if helm == "" {
		s.Fatal("HOLDFAST_TEST_HELM is not set: run make test-cluster")
	}
	dir := s.TempDir()
	chart, values := filepath.Join(dir, "sample"), filepath.Join(dir, "values.yaml")
	check(s.TB, os.WriteFile(values, []byte(chartValues), 0o600))
	s.run(helm, "create", chart)
	at := []string{"--kube-context", "holdfast-" + s.cluster}
	s.run(helm, append(at, "install", "sample", chart, "-f", values, "--wait", "--timeout", "90s")...)
	s.run(helm, append(at, "upgrade", "sample", chart, "-f", values, "--set", "replicaCount=2", "--wait", "--timeout", "90s")...)
	if got := s.kubectl(s.cluster, "get", "deployment", "sample", "-o", "jsonpath={.status.readyReplicas}"); got != "2" {
		s.Errorf("the chart's deployment has %s ready pods, want 2", got)
	}
	if got := s.run(helm, append(at, "history", "sample")...); strings.Count(got, "\n") != 3 || !strings.Contains(got, "deployed") {
		s.Errorf("history: got\n%s", got)
	}
	s.run(helm, append(at, "uninstall", "sample", "--wait")...)
	s.eventually("nothing of the chart", 60*time.Second, func() error { // pods end by and by
		if got := s.kubectl(s.cluster, "get", "all", "-l", "app.kubernetes.io/instance=sample", "-o", "name"); got != "" {
			return fmt.Errorf("there is %s", got)
		}
		return nil
	})
}
