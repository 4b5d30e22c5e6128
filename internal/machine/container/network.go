package container

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// A Network is a bridge of this host with machines on it, and the rules that let
// them out.
type Network struct {
	ID     string       // 8 hexadecimal digits: all names are made of it
	Subnet netip.Prefix // the host has its first address
	MTU    int
	Tree   string // of a node image: its nft, so that the host needs none; "": there never were rules
	Ports  []Port
}

// insideLink is what a machine calls its link.
const insideLink = "eth0"

// Gateway is the host's address on the bridge.
func (n Network) Gateway() netip.Addr { return n.Subnet.Masked().Addr().Next() }

func (n Network) bridge() string       { return "hf" + n.ID }
func (n Network) table() string        { return "holdfast_" + n.ID }
func (n Network) outside(i int) string { return fmt.Sprintf("hf%s.%d", n.ID, i) }

// ErrTaken says that the host has the network's addresses by another link.
var ErrTaken = errors.New("its addresses are another network's")

// Up makes the bridge and its rules, and lets the host forward. It is done again
// without harm. Of two that are made at once with the same addresses one at most
// stays: so it is looked for the other when the bridge is there.
func (n Network) Up() error {
	link, err := netlink.LinkByName(n.bridge())
	if isAbsent(err) {
		link = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.bridge(), MTU: n.MTU}}
		err = netlink.LinkAdd(link)
	}
	if err != nil {
		return fmt.Errorf("bridge %s: %w", n.bridge(), err)
	}
	if err := errors.Join(netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(n.Gateway(), n.Subnet.Bits()))}), netlink.LinkSetUp(link)); err != nil {
		return fmt.Errorf("bridge %s: %w", n.bridge(), err)
	}
	if err := n.alone(link.Attrs().Index); err != nil {
		return errors.Join(fmt.Errorf("bridge %s: %w", n.bridge(), err), netlink.LinkDel(link))
	}
	if err := n.nft(n.rules()); err != nil {
		return err
	}
	if err := n.leadOwn(); err != nil {
		return err
	}
	return os.WriteFile(forwarding, []byte("1"), 0o644)
}

// alone looks for routes of other links into the network, unless machines are on
// it. One to more than the network is no harm; of two bridges of this package the
// younger yields.
func (n Network) alone(bridge int) error {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return err
	}
	older := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		if a.MasterIndex == bridge {
			return nil
		}
		older[a.Index] = !bridgeForm.MatchString(a.Name) || a.Index < bridge
	}
	routes, err := whole(hostRoutes)
	for _, r := range routes {
		if p, ok := destination(r); ok && r.LinkIndex != bridge && older[r.LinkIndex] && p.Bits() >= n.Subnet.Bits() && n.Subnet.Contains(p.Addr()) {
			return fmt.Errorf("%s: %w", p, ErrTaken)
		}
	}
	return err
}

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// Forwarding says whether the host forwards by itself, which it must for
// machines to reach more than it.
func Forwarding() (bool, error) {
	raw, err := os.ReadFile(forwarding)
	return strings.TrimSpace(string(raw)) == "1", err
}

// StopForwarding puts the host back to not forwarding.
func StopForwarding() error { return os.WriteFile(forwarding, []byte("0"), 0o644) }

// Down takes bridge and rules away, and what is left of links. What is not
// there is no error.
func (n Network) Down() error {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return err
	}
	var problems []error
	for _, l := range links {
		if name := l.Attrs().Name; name == n.bridge() || strings.HasPrefix(name, n.bridge()+".") {
			if err := netlink.LinkDel(l); err != nil && !isAbsent(err) {
				problems = append(problems, fmt.Errorf("remove %s: %w", name, err))
			}
		}
	}
	return errors.Join(append(problems, n.nft("add table inet "+n.table()+"\ndelete table inet "+n.table()+"\n"))...)
}

// rules let machines out by the host's address, and nobody else in but by the ports that lead to them:
// others of the host's networks could otherwise route to them now that it forwards.
func (n Network) rules() string {
	return strings.NewReplacer("TABLE", n.table(), "BRIDGE", n.bridge(), "SUBNET", n.Subnet.Masked().String(), "COME", n.lead(true), "OWN", n.lead(false)).Replace(`
add table inet TABLE
delete table inet TABLE
table inet TABLE {
	chain out {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr SUBNET oifname != "BRIDGE" masquerade
		ip saddr 127.0.0.0/8 oifname "BRIDGE" masquerade
	}
	chain host {
		type filter hook prerouting priority raw; policy accept;
		iifname "BRIDGE" ip daddr 127.0.0.0/8 drop
	}
	chain come {
		type nat hook prerouting priority dstnat; policy accept;
COME	}
	chain own {
		type nat hook output priority -100; policy accept;
OWN	}
	chain pass {
		type filter hook forward priority filter; policy accept;
		iifname "BRIDGE" oifname "BRIDGE" accept
		oifname "BRIDGE" ct state established,related accept
		oifname "BRIDGE" ct status dnat accept
		oifname "BRIDGE" drop
		iifname "BRIDGE" ip saddr != SUBNET drop
	}
}
`)
}

// nft runs the node image's nft on the host's network.
func (n Network) nft(rules string) error {
	if n.Tree == "" {
		return nil
	}
	cmd := exec.Command("/usr/sbin/nft", "-f", "-")
	cmd.Dir, cmd.Env = "/", []string{"LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: n.Tree}
	cmd.Stdin = strings.NewReader(rules)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("nftables: %w: %s", err, strings.Join(strings.Fields(said.String()), " "))
	}
	return nil
}

// plug puts one end of a new link onto the bridge and the other into the network
// namespace of pid.
func (n Network) plug(index, pid int) error {
	bridge, err := netlink.LinkByName(n.bridge())
	if err != nil {
		return fmt.Errorf("bridge %s: %w", n.bridge(), err)
	}
	name := n.outside(index)
	if old, err := netlink.LinkByName(name); err == nil {
		if err := netlink.LinkDel(old); err != nil {
			return err
		}
	}
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: n.MTU, MasterIndex: bridge.Attrs().Index},
		PeerName:  insideLink, PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return netlink.LinkSetUp(veth)
}

func isAbsent(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, syscall.ENODEV)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Taken lists the networks that this host has addresses in or routes to, the
// default route not among them.
func Taken() ([]netip.Prefix, error) {
	var taken []netip.Prefix
	routes, err := whole(hostRoutes)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if p, ok := destination(r); ok {
			taken = append(taken, p)
		}
	}
	return taken, nil
}

// destination is where a route leads; not ok for the default one.
func destination(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones), ok && ones > 0
}

// OutsideMTU is that of the link which the host's default route takes.
func OutsideMTU() (int, error) {
	routes, err := whole(hostRoutes)
	if err != nil {
		return 0, err
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			return l.Attrs().MTU, nil
		}
	}
	return 1500, nil // there is no outside
}

// Bridges counts the networks of container machines that are up.
func Bridges() (n int, err error) {
	links, err := whole(netlink.LinkList)
	for _, l := range links {
		if name := l.Attrs().Name; l.Type() == "bridge" && bridgeForm.MatchString(name) {
			n++
		}
	}
	return n, err
}

var bridgeForm = regexp.MustCompile(`^hf[0-9a-f]{8}$`)

func hostRoutes() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) }

// whole asks the kernel again when others changed what it was listing.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for range 100 {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return list()
}
