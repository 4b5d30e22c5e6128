package swarm

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/oci"
)

// A kubo is an IPFS node in a namespace.
type kubo struct {
	*node
	program string
}

// kubo makes an IPFS node of the lab's swarm.
func (l *lab) kubo() *kubo {
	l.Helper()
	program := os.Getenv("HOLDFAST_TEST_KUBO")
	if program == "" {
		l.Skip("kubo 0.39 is missing: make soak builds it; or give its program ipfs in HOLDFAST_TEST_KUBO")
	}
	k := &kubo{l.node(), program}
	k.ipfs(nil, "init", "--profile=autoconf-off,test")
	k.ipfs(nil, "config", "--json", "Addresses.Swarm", `["/ip4/`+k.address+`/tcp/4001"]`)
	key, err := os.ReadFile(l.key)
	if err != nil {
		l.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "ipfs", "swarm.key"), key, 0o600); err != nil {
		l.Fatal(err)
	}
	return k
}

func (k *kubo) command(words ...string) *exec.Cmd {
	c := exec.Command("ip", append([]string{"netns", "exec", k.name, k.program}, words...)...)
	c.Env = append(os.Environ(), "IPFS_PATH="+filepath.Join(k.dir, "ipfs"), "LIBP2P_FORCE_PNET=1", "IPFS_TELEMETRY=off", "HOME="+k.dir)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// ipfs runs a command of kubo and gives what it printed.
func (k *kubo) ipfs(stdin []byte, words ...string) string {
	k.Helper()
	var out, problems bytes.Buffer
	c := k.command(words...)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(stdin), &out, &problems
	if err := c.Run(); err != nil {
		k.Fatalf("ipfs %s: %v\n%s", strings.Join(words, " "), err, problems.String())
	}
	return out.String()
}

// daemon starts kubo until the test ends.
func (k *kubo) daemon() *kubo {
	k.Helper()
	c := k.command("daemon")
	out, err := c.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := c.Start(); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.Contains(lines.Text(), "Daemon is ready") {
			go func() { // ends with the daemon
				for lines.Scan() {
				}
			}()
			return k
		}
	}
	k.Fatal("kubo does not start")
	return nil
}

func (k *kubo) id() string { return strings.TrimSpace(k.ipfs(nil, "id", "-f", "<id>")) }

// cid is what a blob of the node is called in IPFS.
func (n *node) cid(d oci.Digest) string { return strings.Fields(n.run("blob", "cid", string(d)))[0] }

func TestKuboFetchesWhatWasPushedByOCI(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve()
	k := l.kubo().daemon()
	for name, size := range map[string]int{"small": 1000, "one block": 2 << 20, "large": 12<<20 + 1} {
		layer := noise(1, size)
		a.push("team/app", layer)
		k.ipfs(nil, "swarm", "connect", a.where())
		c := a.cid(oci.SHA256(layer))
		if got := k.ipfs(nil, "cat", "--timeout=30s", c); got != string(layer) {
			t.Errorf("%s: kubo got %d bytes of another kind as %s", name, len(got), c)
		}
	}
	const empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // the config, {}
	c, where := a.cid(empty), a.where()
	l.soon(30*time.Second, "kubo finds the provider record", func() bool {
		found := strings.TrimSpace(k.ipfs(nil, "routing", "findprovs", "-n", "1", c))
		return found != "" && strings.HasSuffix(where, found)
	})
}

func TestWhatKuboHasIsPulledByOCI(t *testing.T) {
	l := newLab(t)
	a := l.node().join()
	k := l.kubo().daemon()
	a.serve("--peer", "/ip4/"+k.address+"/tcp/4001/p2p/"+k.id())
	l.soon(20*time.Second, "connected", func() bool { return a.connected(k.id()) })
	for name, size := range map[string]int{"small": 1000, "one block": 2 << 20} {
		blob := noise(2, size)
		k.ipfs(blob, "block", "put", "--cid-codec=raw", "--allow-big-block")
		if _, err := a.get("/v2/team/app/blobs/"+string(oci.SHA256(blob)), oci.SHA256(blob)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, _, err := a.do(http.MethodGet, "/v2/team/app/blobs/"+string(oci.SHA256([]byte("nobody's"))), "", nil); err != nil || status != http.StatusNotFound {
		t.Errorf("a blob that nobody has: got %d and %v, want 404", status, err)
	}
}
