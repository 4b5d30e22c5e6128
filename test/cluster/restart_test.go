package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"holdfast/internal/cluster/kubeapi"
	"holdfast/internal/cluster/pki"
)

// bootForm is which start of the kernel a cluster's nodes are of.
var bootForm = regexp.MustCompile(`"boot": "[0-9a-f-]{36}"`)

// restart does to a cluster what a restart of this machine does: processes, links, rules
// and control groups are gone, and numbers of processes are others'.
func (l *lab) restart(cluster string) {
	l.Helper()
	for _, pid := range l.pids(cluster) {
		check(l.TB, syscall.Kill(pid, syscall.SIGKILL))
	}
	l.eventually("the end of the machines", 20*time.Second, func() error {
		for _, n := range l.status(cluster).Nodes {
			if n.Running {
				return fmt.Errorf("%s runs", n.Name)
			}
		}
		return nil
	})
	path := filepath.Join(l.dir(cluster), "cluster.json")
	raw, err := os.ReadFile(path)
	check(l.TB, err)
	id := regexp.MustCompile(`"id": "([0-9a-f]{8})"`).FindStringSubmatch(string(raw))[1]
	bridge, err := netlink.LinkByName("hf" + id)
	check(l.TB, err)
	check(l.TB, netlink.LinkDel(bridge))
	l.nft("delete table inet holdfast_" + id)
	var groups []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/holdfast/"+id) {
			groups = append(groups, path)
		}
		return nil
	})
	for _, group := range slices.Backward(groups) { // those inside first
		l.eventually("an empty control group", 10*time.Second, func() error { return syscall.Rmdir(group) })
	}
	other := bootForm.ReplaceAllString(string(raw), `"boot": "00000000-0000-0000-0000-000000000000"`)
	if other == string(raw) {
		l.Fatalf("cluster.json has no boot of its machines:\n%s", raw)
	}
	check(l.TB, os.WriteFile(path, []byte(other), 0o600))
}

// This machine was restarted: what was in the cluster is there again after the next
// create, volumes too, and what ran runs.
func TestCreateBringsAClusterBackAfterARestart(t *testing.T) {
	long(t)
	l := newLab(t)
	before := l.hostNow()
	l.serve()
	const name = "test-back"
	l.create(name, "--nodes", "2")
	l.rollOut(name)
	l.keep(name)
	pids := l.pids(name)
	l.restart(name)
	if st := l.status(name); st.Ready || st.Nodes[0].Running || st.Nodes[1].Running {
		t.Fatalf("after the restart: got %+v", st)
	}
	if st := l.create(name); !st.Ready || l.pid(name) == pids[0] {
		t.Fatalf("got %+v", st)
	}
	l.kubectl(name, "rollout", "status", "deployment/web", "--timeout=120s")
	l.eventually("all pods, running", 120*time.Second, func() error {
		pods, err := l.tryKubectl(name, "get", "pods", "-l", "app=web", "-o", "name")
		if err != nil {
			return fmt.Errorf("%w: %s", err, pods)
		}
		for _, pod := range strings.Fields(pods) {
			if out, err := l.tryKubectl(name, "exec", pod, "--", "busybox", "hostname"); err != nil {
				return fmt.Errorf("%s: %w: %s", pod, err, out)
			}
		}
		return nil
	})
	l.apply(name, strings.NewReplacer("NAME", "again", "COMMAND", "busybox cat /data/a").Replace(volume))
	l.kubectl(name, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/again", "--timeout=60s")
	if got := l.kubectl(name, "logs", "again"); got != "kept\n" {
		t.Errorf("volume: got %q", got)
	}
	l.run(l.holdfast, "cluster", "delete", name)
	l.wantSame(before)
}

// A certificate that is about to end is made anew, and who serves by it goes on.
func TestCertificatesAreRenewedWhileTheClusterRuns(t *testing.T) {
	long(t)
	l := newLab(t)
	const name = "test-renew"
	st := l.create(name)
	l.wantOwnKubelet(name)
	dir := filepath.Join(l.dir(name), "nodes", name+"-1", "etc", "pki")
	keys, err := pki.Open(filepath.Join(l.dir(name), "pki"), time.Now())
	check(t, err)
	serverBefore, schedulerBefore := l.process(name, "kube-apiserver"), l.process(name, "kube-scheduler")
	for file, by := range map[string]*pki.Authority{"apiserver": keys.Cluster, "scheduler": keys.Cluster, "etcd": keys.Etcd, "apiserver-etcd": keys.Etcd, "front-proxy": keys.FrontProxy} {
		check(t, age(filepath.Join(dir, file+".crt"), by))
	}
	check(t, syscall.Kill(l.process(name, "certify"), syscall.SIGKILL)) // it looks when it starts
	l.eventually("an API server with a new certificate", 120*time.Second, func() error {
		c, err := tls.Dial("tcp", strings.TrimPrefix(st.Server, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer c.Close()
		leaf := c.ConnectionState().PeerCertificates[0]
		on, err := read(filepath.Join(dir, "apiserver.crt"))
		if err != nil {
			return err
		}
		if !leaf.Equal(on) || time.Until(leaf.NotAfter) < 300*24*time.Hour {
			return fmt.Errorf("it serves one until %v; the file's ends at %v", leaf.NotAfter, on.NotAfter)
		}
		return nil
	})
	time.Sleep(endsIn) // the old ones are of no use any more
	if out := l.kubectl(name, "get", "--raw", "/readyz"); out != "ok" {
		t.Errorf("readyz: got %q", out)
	}
	l.kubectl(name, "create", "deployment", "late", "--image=127.0.0.1:5000/box:1", "--replicas=0")
	if l.process(name, "kube-apiserver") != serverBefore || l.process(name, "kube-scheduler") != schedulerBefore {
		t.Error("a component was started again")
	}
	if out := l.run(l.holdfast, "cluster", "logs", name, "certificates"); strings.Count(out, "certificate renewed") < 5 {
		t.Errorf("the service says\n%s", out)
	}
	l.reconnect(name)
}

// reconnect has etcd, the scheduler and the front proxy be met by new connections: those
// that stand are not asked for a certificate again.
func (l *lab) reconnect(cluster string) {
	l.Helper()
	for _, name := range []string{"etcd", "kube-scheduler"} {
		check(l.TB, syscall.Kill(l.process(cluster, name), syscall.SIGKILL))
	}
	l.eventually("an API server that has etcd again", 90*time.Second, func() error {
		out, err := l.tryKubectl(cluster, "run", "late", "--image=127.0.0.1:5000/box:1", "--overrides="+confined)
		if strings.Contains(out, "AlreadyExists") { // the answer to the time before was lost
			return nil
		}
		return err
	})
	l.kubectl(cluster, "wait", "--for=condition=PodScheduled", "pod/late", "--timeout=90s")
	l.eventually("figures by way of the front proxy", 120*time.Second, func() error {
		out, err := l.tryKubectl(cluster, "top", "nodes")
		if err == nil && !strings.Contains(out, cluster+"-1") {
			err = fmt.Errorf("got %q", out)
		}
		return err
	})
}

// wantOwnKubelet wants the first node's kubelet to have another certificate than it was given,
// one that it asked for. The link is the node's own, so it is followed by hand.
func (l *lab) wantOwnKubelet(cluster string) {
	l.Helper()
	node := filepath.Join(l.dir(cluster), "nodes", cluster+"-1")
	raw, err := os.ReadFile(filepath.Join(node, "etc", "kubelet.conf"))
	check(l.TB, err)
	given, err := kubeapi.ParseKubeconfig(raw)
	check(l.TB, err)
	folder := filepath.Join(node, "var", "lib", "kubelet", "pki")
	l.eventually("a kubelet's own certificate", 120*time.Second, func() error {
		link, err := os.Readlink(filepath.Join(folder, "kubelet-client-current.pem"))
		if err != nil {
			return err
		}
		own, err := os.ReadFile(filepath.Join(folder, filepath.Base(link)))
		if err == nil && bytes.HasPrefix(own, bytes.TrimSpace(given.Cert)) {
			err = errors.New("it is still the one that it was given")
		}
		return err
	})
}

// endsIn is how long an aged certificate is good.
const endsIn = 20 * time.Second

// age puts a certificate in the file that is like it and ends soon.
func age(path string, by *pki.Authority) error {
	cert, err := read(path)
	if err != nil {
		return err
	}
	now := time.Now()
	raw, err := by.Certify(cert, now.Add(-time.Hour), now.Add(endsIn))
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

func read(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
