package pod

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A relay carries connections to the loopback of a pod's network namespace, whatever
// their port, to the pod's machine: containerd forwards ports by dialling localhost
// there, where nobody listens any more.
type relay struct {
	listener net.Listener
	to       netip.Addr
	work     sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]bool // guarded by mu, as is ended
	ended bool
}

// listenHere opens a relay in the network namespace of this thread. It has nothing to do
// until it is told whom to serve.
func listenHere() (net.Listener, error) {
	if lo, err := netlink.LinkByName("lo"); err != nil {
		return nil, fmt.Errorf("lo: %w", err)
	} else if err := netlink.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("lo: %w", err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(redirect, "PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port)))
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("nft: %w: %s", err, strings.Join(strings.Fields(string(said)), " ")), l.Close())
	}
	return l, nil
}

// redirect brings all of the loopback to one port (nft(8), "redirect").
const redirect = `
table ip holdfast {
	chain localhost {
		type nat hook output priority -100; policy accept;
		ip daddr 127.0.0.0/8 meta l4proto tcp redirect to :PORT
	}
}
`

// serveRelay carries connections until the relay is closed.
func serveRelay(l net.Listener, to netip.Addr) *relay {
	r := &relay{listener: l, to: to, open: map[net.Conn]bool{}}
	r.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.work.Go(func() { r.carry(c.(*net.TCPConn)) })
		}
	})
	return r
}

// close ends all that it carries.
func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.ended = true
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

// keep says whether a connection may go on.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.open[c] = true
	}
	return !r.ended
}

func (r *relay) drop(c net.Conn) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
	_ = c.Close()
}

// dialTime is how long a machine may take to answer.
const dialTime = 10 * time.Second

func (r *relay) carry(c *net.TCPConn) {
	if !r.keep(c) {
		_ = c.Close()
		return
	}
	defer r.drop(c)
	port, err := wantedPort(c)
	if err != nil {
		_ = c.SetLinger(0)
		return
	}
	far, err := net.DialTimeout("tcp4", netip.AddrPortFrom(r.to, port).String(), dialTime)
	if err != nil {
		_ = c.SetLinger(0) // nobody listens: it is reset, as it would be there
		return
	}
	if !r.keep(far) {
		_ = far.Close()
		return
	}
	defer r.drop(far)
	join := func(to, from *net.TCPConn) {
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	}
	var both sync.WaitGroup
	both.Go(func() { join(far.(*net.TCPConn), c) })
	both.Go(func() { join(c, far.(*net.TCPConn)) })
	both.Wait()
}

// wantedPort is the one that was dialled, before it was redirected (Linux,
// netfilter_ipv4.h, SO_ORIGINAL_DST).
func wantedPort(c *net.TCPConn) (port uint16, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		// The option's value is a sockaddr_in, which has the size and the port's place that
		// the request of another option has.
		v, e := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
		if failed = e; e == nil {
			port = uint16(v.Multiaddr[2])<<8 | uint16(v.Multiaddr[3])
		}
	})
	return port, errors.Join(err, failed)
}
