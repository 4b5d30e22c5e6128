package policy

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	networking "k8s.io/api/networking/v1"
)

// A net is a node with a bridge and pods at it, as network namespaces.
type network struct {
	*testing.T
	prefix string
}

func (n network) do(words string) {
	n.Helper()
	f := strings.Fields(words)
	if out, err := exec.CommandContext(n.Context(), f[0], f[1:]...).CombinedOutput(); err != nil {
		n.Fatalf("%s: %v: %s", words, err, out)
	}
}

// build makes pods with the addresses 10.0.0.1 and up.
func build(t *testing.T, pods int) network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("makes network namespaces: run as root")
	}
	n := network{t, fmt.Sprintf("hfp%d", os.Getpid())}
	node := n.prefix + "n"
	n.add(node)
	n.do("ip -n " + node + " link add pods0 type bridge")
	n.do("ip -n " + node + " addr add 10.0.0.254/24 dev pods0")
	n.do("ip -n " + node + " link set pods0 up")
	n.do("ip netns exec " + node + " sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.ipv4.ip_forward=1")
	for i := 1; i <= pods; i++ {
		pod := fmt.Sprintf("%s%d", n.prefix, i)
		n.add(pod)
		n.do(fmt.Sprintf("ip -n %s link add eth0 type veth peer name v%d netns %s", pod, i, node))
		n.do(fmt.Sprintf("ip -n %s addr add 10.0.0.%d/24 dev eth0", pod, i))
		n.do("ip -n " + pod + " link set lo up")
		n.do("ip -n " + pod + " link set eth0 up")
		n.do(fmt.Sprintf("ip -n %s link set v%d master pods0 up", node, i))
	}
	return n
}

func (n network) add(name string) {
	n.do("ip netns add " + name)
	n.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
}

// inside runs f in a namespace, on a thread that is not used again.
func (n network) inside(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		h, err := netns.GetFromName(n.prefix + name)
		if err == nil {
			err = netns.Set(h)
			_ = h.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// listen accepts connections in a pod until the test ends.
func (n network) listen(pod int, port string) {
	n.Helper()
	var l net.Listener
	check(n.T, n.inside(fmt.Sprint(pod), func() (err error) {
		l, err = net.Listen("tcp4", ":"+port)
		return err
	}))
	n.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
}

// reaches says whether a connection from somewhere to a pod comes about in time.
func (n network) reaches(from string, to int, port string, within time.Duration) bool {
	return n.inside(from, func() error {
		c, err := net.DialTimeout("tcp4", fmt.Sprintf("10.0.0.%d:%s", to, port), within)
		if err == nil {
			err = c.Close()
		}
		return err
	}) == nil
}

func (n network) apply(policies ...*networking.NetworkPolicy) {
	n.Helper()
	cmd := exec.CommandContext(n.Context(), "ip", "netns", "exec", n.prefix+"n", "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(Render(world(policies...)))
	if out, err := cmd.CombinedOutput(); err != nil {
		n.Fatalf("nft: %v: %s", err, out)
	}
}

func TestKernelHoldsPodsToTheirPolicies(t *testing.T) {
	n := build(t, 3)
	n.listen(2, "6379")
	n.listen(2, "9999")
	want := func(what string, from int, port string, open bool) {
		t.Helper()
		within := 700 * time.Millisecond
		if open {
			within = 20 * time.Second // a first packet may be lost, and is sent again after a second
		}
		if got := n.reaches(fmt.Sprint(from), 2, port, within); got != open {
			t.Errorf("%s: pod %d to %s: got open %v, want %v", what, from, port, got, open)
		}
	}
	n.apply()
	want("without a policy", 3, "6379", true)
	n.apply(policyOf(t, `{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 6379}]}]}`))
	want("its front", 1, "6379", true)
	want("its front, at another port", 1, "9999", false)
	want("a stranger", 3, "6379", false)
	want("itself", 2, "9999", true)
	if !n.reaches("n", 2, "9999", 20*time.Second) {
		t.Error("the node's probe is not let through")
	}
	n.apply(policyOf(t, `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.2/32]}}]}]}`))
	want("an exception", 1, "6379", false)
	want("one in another namespace", 3, "6379", true)
	n.apply()
	want("the policy is gone", 1, "9999", true)
}
