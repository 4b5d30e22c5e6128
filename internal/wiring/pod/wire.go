package pod

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/machine"
)

// The names in a pod's network namespace: what CNI made, and what is put beside it.
const (
	podLink   = "eth0"
	podBridge = "guest0"
	podTap    = "tap0"
)

// Plug makes the machine the owner of what CNI gave the pod: its address, its gateway
// and its hardware address. In the namespace, a bridge joins the pod's link with the
// machine's tap. What it makes ends with the namespace, or with the file that it returns. What
// connects to the namespace's loopback is for who accepts it.
func Plug(netns string) (wire *machine.Wire, loopback net.Listener, err error) {
	type result struct {
		wire     *machine.Wire
		loopback net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		var r result
		if r.wire, r.err = plugHere(netns); r.err == nil {
			if r.loopback, r.err = listenHere(); r.err != nil {
				_ = r.wire.Tap.Close()
			}
		}
		done <- r
	}()
	r := <-done
	if r.err != nil {
		return nil, nil, fmt.Errorf("the pod's network: %w", r.err)
	}
	return r.wire, r.loopback, nil
}

func plugHere(netns string) (*machine.Wire, error) {
	f, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter %s: %w", netns, err)
	}
	link, err := netlink.LinkByName(podLink)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", podLink, err)
	}
	wire := &machine.Wire{MAC: link.Attrs().HardwareAddr}
	if wire.Link, err = placeOf(link); err != nil {
		return nil, fmt.Errorf("%s: %w", podLink, err)
	}
	if wire.Tap, err = openTap(); err != nil {
		return nil, err
	}
	if err := join(link); err != nil {
		return nil, errors.Join(err, wire.Tap.Close())
	}
	return wire, nil
}

// placeOf reads what CNI gave a link.
func placeOf(link netlink.Link) (l api.GuestLink, err error) {
	l.MTU = link.Attrs().MTU
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return l, err
	}
	if len(addresses) == 0 {
		return l, errors.New("has no IPv4 address")
	}
	ip, _ := netip.AddrFromSlice(addresses[0].IP.To4())
	ones, _ := addresses[0].Mask.Size()
	l.Address = netip.PrefixFrom(ip, ones)
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return l, err
	}
	for _, r := range routes {
		if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			l.Gateway, _ = netip.AddrFromSlice(r.Gw.To4())
		}
	}
	if !l.Gateway.IsValid() {
		return l, errors.New("has no way out: CNI gave no default route")
	}
	return l, nil
}

// openTap makes a tap device that lives as long as the file is open (tun(4),
// Documentation/networking/tuntap.rst).
func openTap() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(podTap)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make %s: %w", podTap, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), podTap), nil
}

// join takes the address from the pod's link and puts it on a bridge with the tap. The
// link gets another hardware address: its own is the machine's now.
func join(link netlink.Link) error {
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("take %s from %s: %w", a.IPNet, podLink, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = podBridge, link.Attrs().MTU
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge %s: %w", podBridge, err)
	}
	tap, err := netlink.LinkByName(podTap)
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetDown(link), netlink.LinkSetHardwareAddr(link, anyAddress())); err != nil {
		return fmt.Errorf("%s: %w", podLink, err)
	}
	for _, one := range []netlink.Link{link, tap} {
		err := errors.Join(netlink.LinkSetMTU(one, attrs.MTU), netlink.LinkSetMaster(one, bridge), netlink.LinkSetUp(one))
		if err != nil {
			return fmt.Errorf("join %s and %s: %w", one.Attrs().Name, podBridge, err)
		}
	}
	// A node's bridge may send broadcasts back to where they came from (hairpin
	// mode). Who is behind the link is then not to be learned of them: the machine is not.
	if err := netlink.LinkSetLearning(link, false); err != nil {
		return fmt.Errorf("%s: %w", podLink, err)
	}
	return netlink.LinkSetUp(bridge)
}

// anyAddress is a locally administered hardware address.
func anyAddress() net.HardwareAddr {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	b[0] = b[0]&^1 | 2
	return b
}
