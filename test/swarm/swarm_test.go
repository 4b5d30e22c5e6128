package swarm

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func TestWhatIsPushedToOneNodeIsPulledFromAnother(t *testing.T) {
	l := newLab(t)
	a, b := l.node().join().serve(), l.node().join().serve()
	layer := noise(1, 40<<20)
	d := a.push("team/app", layer)
	b.run("peer", "add", a.where())
	l.soon(20*time.Second, "connected", func() bool { return b.connected(a.where()) })
	if err := b.pull("team/app", d, layer); err != nil {
		t.Error(err)
	}
	a.stop()
	if err := b.pull("team/app", d, layer); err != nil {
		t.Errorf("what came from a peer is not kept: %v", err)
	}
}

func TestThreeNodesFindWhatANeighboursNeighbourHas(t *testing.T) {
	l := newLab(t)
	a, middle, c := l.node().join().serve(), l.node().join(), l.node().join()
	middle.serve("--peer", a.where())
	c.serve("--peer", middle.where())
	l.soon(20*time.Second, "connected", func() bool { return c.connected(middle.where()) && middle.connected(a.where()) })
	layer := noise(2, 5<<20)
	d := a.push("team/app", layer)
	l.soon(30*time.Second, "pulled", func() bool { return c.pull("team/app", d, layer) == nil })
	if !c.connected(a.where()) {
		t.Error("it did not come from the one who has it")
	}
}

func TestAPartitionHeals(t *testing.T) {
	l := newLab(t)
	a := l.node().join().serve()
	b := l.node().join().serve("--peer", a.where())
	l.soon(20*time.Second, "connected", func() bool { return b.connected(a.where()) })
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
	l.soon(30*time.Second, "found by mDNS", func() bool { return b.connected(a.where()) })
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
