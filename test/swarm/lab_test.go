// Package swarm shows what nodes do on a network: several holdfast serve, each
// in a network namespace of its own, joined by a bridge that the test cuts.
package swarm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"holdfast/internal/cli"
)

// asHoldfast in the environment makes this test binary the program.
const asHoldfast = "HOLDFAST_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asHoldfast) {
	case "1":
		os.Exit(program())
	case "liar":
		os.Exit(lie())
	}
	os.Exit(m.Run())
}

// program is cmd/holdfast's main.
func program() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
	})
}

// A lab is a bridge in a namespace, to which nodes are wired.
type lab struct {
	testing.TB
	hub   string
	key   string // the file of the swarm's key
	nodes int
}

func newLab(t testing.TB) *lab {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root: run make test as root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is missing: apt-get install iproute2")
	}
	l := &lab{TB: t, hub: fmt.Sprintf("hf%d-hub", os.Getpid())}
	l.namespace(l.hub)
	l.in(l.hub, "ip", "link", "add", "br0", "type", "bridge")
	l.in(l.hub, "ip", "link", "set", "br0", "up")
	return l
}

func (l *lab) namespace(name string) {
	l.Helper()
	l.must("ip", "netns", "add", name)
	l.Cleanup(func() { l.must("ip", "netns", "delete", name) })
	l.in(name, "ip", "link", "set", "lo", "up")
}

func (l *lab) must(words ...string) {
	l.Helper()
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		l.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
}

func (l *lab) in(namespace string, words ...string) {
	l.Helper()
	l.must(append([]string{"ip", "netns", "exec", namespace}, words...)...)
}

// A node is an installation in a namespace.
type node struct {
	*lab
	name    string // of the namespace
	address string // IPv4
	port    string // of the lab's end of its wire
	dir     string
	serving *exec.Cmd
	url     string // of its registry, from within
	http    *http.Client
}

// node wires another namespace to the bridge.
func (l *lab) node() *node {
	l.Helper()
	l.nodes++
	n := &node{
		lab: l, name: fmt.Sprintf("hf%d-%d", os.Getpid(), l.nodes), port: fmt.Sprintf("p%d", l.nodes),
		address: fmt.Sprintf("10.77.0.%d", l.nodes), dir: l.TempDir(),
		url: "http://127.0.0.1:5000",
	}
	l.namespace(n.name)
	l.must("ip", "link", "add", "eth0", "netns", n.name, "type", "veth", "peer", "name", n.port, "netns", l.hub)
	l.in(n.name, "ip", "address", "add", n.address+"/24", "dev", "eth0")
	l.in(n.name, "ip", "link", "set", "eth0", "up")
	l.in(n.name, "ip", "route", "add", "default", "dev", "eth0") // for multicast
	l.in(l.hub, "ip", "link", "set", n.port, "master", "br0", "up")
	n.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: n.dial, DisableKeepAlives: true}}
	return n
}

// cut takes the wire away, as a switch that dies would; mend brings it back.
func (n *node) cut()  { n.Helper(); n.in(n.hub, "ip", "link", "set", n.port, "down") }
func (n *node) mend() { n.Helper(); n.in(n.hub, "ip", "link", "set", n.port, "up") }

// dial connects from within the namespace.
func (n *node) dial(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread() // and never unlocked when it cannot be brought back: the thread ends with its goroutine
	own, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer own.Close()
	other, err := netns.GetFromName(n.name)
	if err != nil {
		return nil, err
	}
	defer other.Close()
	if err := netns.Set(other); err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if back := netns.Set(own); back != nil {
		return nil, back
	}
	runtime.UnlockOSThread()
	return conn, err
}

// command is holdfast with these words, in the namespace.
func (n *node) command(words ...string) *exec.Cmd {
	n.Helper()
	exe, err := os.Executable()
	if err != nil {
		n.Fatal(err)
	}
	c := exec.Command("ip", append([]string{"netns", "exec", n.name, exe}, words...)...)
	c.Dir = n.dir
	c.Env = append(os.Environ(), asHoldfast+"=1", "HOLDFAST_STATE="+filepath.Join(n.dir, "state"))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// run wants words to succeed, and gives what they printed.
func (n *node) run(words ...string) string {
	n.Helper()
	var out, problems bytes.Buffer
	c := n.command(words...)
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		n.Fatalf("holdfast %s: %v\n%s", strings.Join(words, " "), err, problems.String())
	}
	return out.String()
}

// join gives the node the key of the lab's swarm.
func (n *node) join() *node {
	n.Helper()
	if n.key == "" {
		n.key = filepath.Join(n.dir, "swarm.key")
		n.run("peer", "swarm-key", "export", n.key)
		return n
	}
	n.run("peer", "swarm-key", "import", n.key)
	return n
}

// serve starts the node's registry, and its swarm on port 4001.
func (n *node) serve(words ...string) *node {
	n.Helper()
	n.serving = n.command(append([]string{"serve", "--json", "--swarm-listen", n.address + ":4001"}, words...)...)
	log, err := os.Create(filepath.Join(n.dir, "log"))
	if err != nil {
		n.Fatal(err)
	}
	defer log.Close()
	n.serving.Stderr = log
	out, err := n.serving.StdoutPipe()
	if err != nil {
		n.Fatal(err)
	}
	if err := n.serving.Start(); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() {
		n.stop()
		if said, _ := os.ReadFile(log.Name()); n.Failed() {
			n.Logf("%s said:\n%s", n.name, said)
		}
	})
	if !bufio.NewScanner(out).Scan() {
		said, _ := os.ReadFile(log.Name())
		n.Fatalf("serve says nothing: %s", said)
	}
	return n
}

// authority is the file of the CA that vouches for the node's servers.
func (n *node) authority() string { return filepath.Join(n.dir, "state", "keys", "tls.crt") }

// secure speaks TLS to a registry that others reach.
func (n *node) secure() *node {
	n.Helper()
	raw, err := os.ReadFile(n.authority())
	if err != nil {
		n.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	n.url = "https://127.0.0.1:5000"
	n.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
	return n
}

// stop ends what serve began, and wants it to end well.
func (n *node) stop() {
	n.Helper()
	if n.serving == nil {
		return
	}
	_ = n.serving.Process.Signal(syscall.SIGTERM) // ip becomes the program that it executes
	if err := n.serving.Wait(); err != nil {
		n.Errorf("serve ended: %v", err)
	}
	n.serving = nil
}

// memory is what the node has resident of its own, in KiB. Pages of its program
// come on top, but here that is the test's; docs/benchmarks.md has the sum.
func (n *node) memory() (kib int) {
	n.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.serving.Process.Pid))
	if err != nil {
		n.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "RssAnon:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		n.Fatal(err)
	}
	return kib
}

// where gives the address at which others find the node.
func (n *node) where() string {
	n.Helper()
	var answer struct{ Addresses []string }
	if err := json.Unmarshal([]byte(n.run("peer", "id", "--json")), &answer); err != nil || len(answer.Addresses) == 0 {
		n.Fatalf("no address: %v", err)
	}
	return answer.Addresses[0]
}

type listedPeer struct {
	ID        string
	Connected bool
	Trouble   string
}

func (n *node) peers() []listedPeer {
	n.Helper()
	var answer struct{ Peers []listedPeer }
	if err := json.Unmarshal([]byte(n.run("peer", "ls", "--json")), &answer); err != nil {
		n.Fatal(err)
	}
	return answer.Peers
}

// connected says whether n is connected to the node at address.
func (n *node) connected(address string) bool {
	n.Helper()
	for _, p := range n.peers() {
		if strings.HasSuffix(address, p.ID) {
			return p.Connected
		}
	}
	return false
}

// soon waits until ok is true, at most for a time.
func (l *lab) soon(most time.Duration, what string, ok func() bool) {
	l.Helper()
	for end := time.Now().Add(most); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			l.Fatalf("not within %v: %s", most, what)
		}
	}
}
