package pod

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// inside does something in a network namespace.
func inside(t *testing.T, ns string, do func()) {
	t.Helper()
	f, err := os.Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestTheLoopbackOfAPodIsItsMachines(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace: run make test as root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft: apt install nftables")
	}
	ns := fmt.Sprint("hfrelay", os.Getpid())
	ip(t, "netns", "add", ns)
	defer ip(t, "netns", "del", ns)
	machine, err := net.Listen("tcp4", "127.0.0.1:0") // stands for the machine, outside of the namespace
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := machine.Accept()
			if err != nil {
				return
			}
			asked, _ := io.ReadAll(c)
			_, _ = c.Write(append([]byte("heard "), asked...))
			_ = c.Close()
		}
	}()
	var l net.Listener
	inside(t, ns, func() { l, err = listenHere() })
	if err != nil {
		t.Fatal(err)
	}
	r := serveRelay(l, netip.MustParseAddr("127.0.0.1"))
	address := machine.Addr().String()
	ask := func() (string, error) {
		c, err := net.Dial("tcp4", address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		_, _ = c.Write([]byte("hello"))
		_ = c.(*net.TCPConn).CloseWrite()
		b, err := io.ReadAll(c)
		return string(b), err
	}
	var got string
	inside(t, ns, func() { got, err = ask() })
	if err != nil || got != "heard hello" {
		t.Errorf("got %q, %v, want heard hello", got, err)
	}
	_ = machine.Close()
	inside(t, ns, func() { got, err = ask() })
	if err == nil {
		t.Errorf("where nobody listens: got %q, want a reset", got)
	}
	r.close()
	inside(t, ns, func() { got, err = ask() })
	if err == nil {
		t.Errorf("after the end: got %q", got)
	}
}
