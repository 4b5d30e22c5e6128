package cluster

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Run by make bench-cluster, on a machine that does nothing else.

func BenchmarkCreateToReady(b *testing.B) {
	l := newLab(b)
	l.create("bench") // fills the caches
	for b.Loop() {
		b.StopTimer()
		l.run(l.holdfast, "cluster", "delete", "bench")
		b.StartTimer()
		l.run(l.holdfast, "cluster", "create", "--name", "bench")
	}
}

// idle are the minutes after which memory is looked at: what is given back early comes back where it is needed.
var idle = []int{1, 3, 5}

// What a cluster that nobody uses takes, beside the same components with the flags that kubeadm gives
// them, started by hand in the same node on the same data.
func BenchmarkIdleMemory(b *testing.B) {
	l := newLab(b)
	for b.Loop() {
		l.create("bench")
		ours := l.over(idle, "with us", "bench")
		l.byHand("bench")
		theirs := l.over(idle, "by hand", "bench")
		for i, n := range idle {
			b.ReportMetric(ours[i], fmt.Sprintf("MiB-%dmin", n))
			b.ReportMetric(theirs[i], fmt.Sprintf("MiB-%dmin-by-hand", n))
			b.ReportMetric(ours[i]/theirs[i], fmt.Sprintf("ratio-%dmin", n))
		}
		l.run(l.holdfast, "cluster", "delete", "bench")
	}
}

// over is what a cluster has in memory after each of minutes, in MiB.
func (l *lab) over(minutes []int, whose, cluster string) (totals []float64) {
	l.Helper()
	began := time.Now()
	for _, n := range minutes {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Minute)))
		now := l.resident(cluster)
		l.Logf("MiB %s after %d minutes (%.1f where each page counts once):\n%s", whose, n, l.proportional(cluster), now)
		totals = append(totals, now.total())
	}
	return totals
}

// proportional counts each page once for all processes that have it, in MiB.
func (l *lab) proportional(cluster string) (sum float64) {
	l.Helper()
	for _, pid := range l.ownProcesses(cluster) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if size, found := l.mebibytes(string(rollup), "\nPss:"); found && !stopped(string(status)) {
			sum += size
		}
	}
	return sum
}

// stopped says so of a process that byHand has stopped.
func stopped(status string) bool { return strings.Contains(status, "State:\tT") }

// mebibytes is what a file of proc(5) has behind name, if it has it.
func (l *lab) mebibytes(file, name string) (size float64, found bool) {
	l.Helper()
	_, value, found := strings.Cut(file, name)
	if !found {
		return 0, false
	}
	kib, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
	check(l.TB, err)
	return kib / 1024, true
}

// byName is what processes of a name take, in MiB.
type byName map[string]float64

func (m byName) total() (sum float64) {
	for _, size := range m {
		sum += size
	}
	return sum
}

func (m byName) String() string {
	var b strings.Builder
	for name, size := range m {
		fmt.Fprintf(&b, "%8.1f %s\n", size, name)
	}
	return b.String()
}

// ownProcesses are a node's, without those of pods, which are the same on both sides.
func (l *lab) ownProcesses(cluster string) (pids []int) {
	l.Helper()
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", l.pid(cluster)))
	check(l.TB, err)
	all, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	check(l.TB, err)
	for _, path := range all {
		if ns, _ := os.Readlink(path); ns == own {
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			check(l.TB, err)
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// resident counts what they have in memory.
func (l *lab) resident(cluster string) byName {
	l.Helper()
	sizes := byName{}
	for _, pid := range l.ownProcesses(cluster) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		args := arguments(pid)
		size, found := l.mebibytes(string(status), "VmRSS:")
		if !found || len(args) == 0 || stopped(string(status)) {
			continue // it has ended, or counts no more
		}
		sizes[named(args)] += size
	}
	return sizes
}

func arguments(pid int) []string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.FieldsFunc(string(line), func(r rune) bool { return r == 0 })
}

// named is a component's name, which may be the first word of a program of many.
func named(args []string) string {
	name := filepath.Base(args[0])
	if len(args) > 1 && (name == "kube" || name == "holdfast-node") {
		return name + " " + args[1]
	}
	return name
}

// ownFlags are those that we set and kubeadm does not.
var ownFlags = []string{"--leader-elect=false", "--profiling=false"}

// byHand ends what process 1 keeps running, and starts the components of Kubernetes again. Process 1
// stops, and counts no more.
func (l *lab) byHand(cluster string) {
	l.Helper()
	first := l.pid(cluster)
	check(l.TB, syscall.Kill(first, syscall.SIGSTOP)) // it would start them again
	var again [][]string
	for _, pid := range l.ownProcesses(cluster) {
		args := arguments(pid)
		if len(args) == 0 || pid == first {
			continue
		}
		switch name := filepath.Base(args[0]); name {
		case "kube", "containerd":
			again = append(again, slices.DeleteFunc(args, func(a string) bool { return slices.Contains(ownFlags, a) }))
		case "holdfast-agent", "holdfast-node":
		default:
			continue
		}
		check(l.TB, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, args := range again {
		enter := []string{"--target", strconv.Itoa(first), "--all", "--"}
		cmd := exec.Command("nsenter", append(enter, args...)...)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		check(l.TB, cmd.Start())
		l.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
}

// phases tells when pods come to run.
func (l *lab) phases(cluster string) (wait func(pod string) time.Time) {
	l.Helper()
	cmd := l.command(filepath.Join(l.dir(cluster), "programs/bin/kube"), "kubectl", "--context", "holdfast-"+cluster,
		"get", "pods", "--watch", "-o", `jsonpath={.metadata.name} {.status.phase}{"\n"}`)
	out, err := cmd.StdoutPipe()
	check(l.TB, err)
	check(l.TB, cmd.Start())
	l.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	return func(pod string) time.Time {
		for lines.Scan() {
			if lines.Text() == pod+" Running" {
				return time.Now()
			}
		}
		l.Fatalf("pod %s: kubectl tells no more: %v", pod, lines.Err())
		return time.Time{}
	}
}

const plainPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  terminationGracePeriodSeconds: 0
  containers:
    - name: box
      image: 127.0.0.1:5000/box:1
      args: [sleep, "86400"]
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

func BenchmarkPlainPod(b *testing.B) {
	l := newLab(b)
	l.serve()
	l.create("bench")
	running := l.phases("bench")
	l.apply("bench", strings.ReplaceAll(plainPod, "NAME", "first")) // pulls
	running("first")
	n := 0
	for b.Loop() {
		n++
		name := fmt.Sprintf("pod-%d", n)
		l.apply("bench", strings.ReplaceAll(plainPod, "NAME", name))
		running(name)
	}
}

// A confidential pod, and a run of the same image without Kubernetes, in turn.
func BenchmarkConfidentialPod(b *testing.B) {
	c := newConfidentialLab(b, "bench")
	c.trust()
	sealed := c.seal()
	running := c.phases(c.cluster)
	var pods, runs []time.Duration
	for n := range 3 {
		name := fmt.Sprintf("vault-%d", n)
		began := time.Now()
		c.apply(c.cluster, strings.Replace(sealed, "name: vault", "name: "+name, 1))
		pods = append(pods, running(name).Sub(began))
		c.kubectl("delete", "pod", name, "--timeout=60s")
		runs = append(runs, c.runs())
	}
	slices.Sort(pods)
	slices.Sort(runs)
	pod, run := pods[len(pods)/2].Seconds(), runs[len(runs)/2].Seconds()
	b.ReportMetric(pod, "pod-s")
	b.ReportMetric(run, "run-s")
	b.ReportMetric(pod/run, "ratio")
	b.ReportMetric(0, "ns/op")
}

// runs is how long a run of the same image takes to its first output.
func (c *confidentialLab) runs() time.Duration {
	c.Helper()
	cmd := c.command(c.holdfast, "run", c.host+":5000/vault:enc", "--guest", filepath.Join(c.state, "images", "guest"),
		"--ca", c.ca, "-q", "--", "sh", "-c", "echo runs; exec busybox sleep 86400")
	out, err := cmd.StdoutPipe()
	check(c.TB, err)
	began := time.Now()
	check(c.TB, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	if line != "runs\n" {
		c.Errorf("run: got %q, %v", line, err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
	return took
}
