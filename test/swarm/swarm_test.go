package swarm

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/oci"
)

func TestWhatIsPushedToOneNodeIsPulledFromAnother(t *testing.T) {
	l := newLab(t)
	a, b := l.node().join().serve(), l.node().join().serve()
	layer := noise(1, 40<<20)
	d := a.push("team/app", layer)
	b.run("peer", "add", a.where())
	l.soon(time.Minute, "connected", func() bool { return b.connected(a.where()) })
	b.pulls("team/app", d, layer)
	a.stop()
	if err := b.pull("team/app", d, layer); err != nil {
		t.Errorf("what came from a peer is not kept: %v", err)
	}
}

func TestWhatOneNodeGotFromAnUpstreamIsPulledFromItWithTheUpstreamCutOff(t *testing.T) {
	l := newLab(t)
	upstream := l.node().serve("--swarm", "off", "--registry-listen", "0.0.0.0:5000").secure()
	layer := noise(5, 10<<20)
	d := upstream.push("app", layer)
	file := filepath.Join(upstream.dir, "upstreams.yaml")
	content := "upstreams:\n- prefix: far\n  url: https://" + upstream.address + ":5000\n  ca: " + filepath.Join(upstream.dir, "state", "keys", "tls.crt") + "\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	a := l.node().join().serve("--upstreams", file)
	b := l.node().join().serve("--upstreams", file, "--peer", a.where())
	if err := a.pull("far/app", d, layer); err != nil {
		t.Fatal(err)
	}
	l.soon(time.Minute, "connected", func() bool { return b.connected(a.where()) })
	upstream.cut()
	b.pulls("far/app", d, layer)
}

func TestWhatRotsOnANodeIsFetchedFromItsPeerForHimWhoAsks(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve()
	b := l.node().join().serve("--peer", a.where())
	l.soon(time.Minute, "connected", func() bool { return b.connected(a.where()) })
	layer := noise(7, 5<<20)
	d := a.push("team/app", layer)
	b.pulls("team/app", d, layer)
	blobs, hex := filepath.Join(b.dir, "state", "registry", ".blobs"), oci.SHA256(layer).Hex()
	rotten := bytes.Clone(layer)
	rotten[3<<20] ^= 1
	if err := os.WriteFile(filepath.Join(blobs, "sha256", hex), rotten, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.pull("team/app", d, layer); err != nil {
		t.Errorf("with a flipped bit on its disk: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(blobs, "quarantine", "sha256", hex)); err != nil || !bytes.Equal(got, rotten) {
		t.Errorf("not in quarantine: %v", err)
	}
	a.stop()
	if err := b.pull("team/app", d, layer); err != nil {
		t.Errorf("what was fetched again is not kept: %v", err)
	}
}

func TestANodeThatSendsWrongBytesIsDroppedAndThePullSucceeds(t *testing.T) {
	l := newLab(t)
	honest := l.node().join().serve()
	layer := noise(6, 10<<20)
	d := honest.push("team/app", layer)
	liar := l.liar(honest)
	asking := l.node().join().serve("--peer", liar)
	l.soon(time.Minute, "connected", func() bool { return asking.connected(liar) })
	asking.run("peer", "add", honest.where())
	l.soon(time.Minute, "connected", func() bool { return asking.connected(honest.where()) })
	if err := asking.pull("team/app", d, layer); err != nil {
		t.Error(err)
	}
	round := byte(60)
	l.soon(3*time.Minute, "the liar is dropped", func() bool {
		for _, p := range asking.peers() {
			if strings.HasSuffix(liar, p.ID) {
				if !p.Connected && strings.Contains(p.Trouble, "wrong bytes") {
					return true
				}
			}
		}
		round++ // who answers late is not asked for blocks: it may be in time for another image
		another := noise(round, 10<<20)
		asking.pulls("team/app", honest.push("team/app", another), another)
		return false
	})
}

func TestThreeNodesFindWhatANeighboursNeighbourHas(t *testing.T) {
	l := newLab(t)
	a, middle, c := l.node().join().serve(), l.node().join(), l.node().join()
	middle.serve("--peer", a.where())
	c.serve("--peer", middle.where())
	l.soon(time.Minute, "connected", func() bool { return c.connected(middle.where()) && middle.connected(a.where()) })
	layer := noise(2, 5<<20)
	d := a.push("team/app", layer)
	c.pulls("team/app", d, layer)
	if !c.connected(a.where()) {
		t.Error("it did not come from the one who has it")
	}
}

func TestANodeAtRestIsSmall(t *testing.T) {
	const most = 32 << 10 // KiB; it is about 20
	l := newLab(t)
	a := l.node().join().serve("--mdns")
	b := l.node().join().serve("--mdns", "--peer", a.where())
	l.soon(time.Minute, "connected", func() bool { return b.connected(a.where()) })
	time.Sleep(2 * time.Second)
	for _, n := range []*node{a, b} {
		if got := n.memory(); got > most {
			t.Errorf("%d KiB of its own, want at most %d", got, most)
		} else {
			t.Logf("%d KiB of its own", got)
		}
	}
}

func TestAPartitionHeals(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve()
	b := l.node().join().serve("--peer", a.where())
	l.soon(time.Minute, "connected", func() bool { return b.connected(a.where()) })
	a.cut()
	layer := noise(3, 5<<20)
	d := a.push("team/app", layer)
	began := time.Now()
	if err := b.pull("team/app", d, layer); err == nil {
		t.Fatal("pulled through a wire that is cut")
	}
	if took := time.Since(began); took > 40*time.Second {
		t.Errorf("a client waited for %v", took)
	}
	a.mend()
	l.soon(2*time.Minute, "pulled after the partition", func() bool { return b.pull("team/app", d, layer) == nil })
}

func TestNodesOfOneNetworkFindEachOtherWhenTheyAreToldTo(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve("--mdns")
	b := l.node().join().serve("--mdns")
	c := l.node().join().serve()
	// Who is missed asks again after a while that doubles (RFC 6762, 5.2).
	l.soon(3*time.Minute, "found by mDNS", func() bool { return b.connected(a.where()) })
	if len(c.peers()) > 0 {
		t.Error("a node that was not told to is known")
	}
}

func TestWithoutTheSwarmKeyANodeLearnsNothing(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve("--mdns")
	where := a.where()
	outsider := l.node().serve("--mdns", "--peer", where)
	layer := noise(4, 1000)
	d := a.push("team/app", layer)
	time.Sleep(5 * time.Second) // for it to try
	if outsider.connected(where) {
		t.Error("it is connected")
	}
	if err := outsider.pull("team/app", d, layer); err == nil {
		t.Error("it pulled")
	}
	conn, err := outsider.dial(t.Context(), "tcp", a.address+":4001")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = conn.Write(append(make([]byte, 24), "\x13/multistream/1.0.0\n"...))
	said, _ := io.ReadAll(conn)
	if len(said) > 24+64 || bytes.Contains(said, []byte("multistream")) {
		t.Errorf("the port says %q to whom has no key", said)
	}
}
