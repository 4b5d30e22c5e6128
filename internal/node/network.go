package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
)

// resolverFile has what DHCP said of name servers; no other is ever used.
const resolverFile = "/run/resolv.conf"

const defaultHostname = "holdfast"

// A Link is what DHCP said of the machine's place in its network.
type Link struct {
	Address   netip.Prefix
	Resolvers []netip.Addr
}

// bringUp gives the machine its address and keeps the lease in the background
// until ctx ends. The text says what was leased.
func bringUp(ctx context.Context, background *sync.WaitGroup) (l Link, text string, err error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return l, "", err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return l, "", fmt.Errorf("lo: %w", err)
	}
	link, err := firstEthernet()
	if err != nil {
		return l, "", err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return l, "", fmt.Errorf("%s: %w", link.Attrs().Name, err)
	}
	given, ok, err := givenLink(fwcfgDir)
	if err != nil {
		return l, "", err
	}
	if ok {
		err := errors.Join(applyGiven(link, given), openSysctls())
		return Link{given.Address, given.Resolvers}, fmt.Sprintf("%s has %s", link.Attrs().Name, given.Address.Addr()), err
	}
	lease, err := requestLease(ctx, link.Attrs().Name, nil)
	if err != nil {
		return l, "", err
	}
	if err := errors.Join(applyLease(link, lease.ACK), openSysctls()); err != nil {
		return l, "", fmt.Errorf("%s: %w", link.Attrs().Name, err)
	}
	background.Go(func() { renewLease(ctx, link, lease) })
	return linkOf(lease.ACK), fmt.Sprintf("%s has %s", link.Attrs().Name, lease.ACK.YourIPAddr), nil
}

// linkOf has no address when the lease has none of IPv4.
func linkOf(ack *dhcpv4.DHCPv4) (l Link) {
	if ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4()); ok {
		ones, _ := ack.SubnetMask().Size()
		l.Address = netip.PrefixFrom(ip, ones)
	}
	for _, server := range ack.DNS() {
		if ip, ok := netip.AddrFromSlice(server.To4()); ok {
			l.Resolvers = append(l.Resolvers, ip)
		}
	}
	return l
}

func firstEthernet() (netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagLoopback == 0 && len(a.HardwareAddr) == 6 {
			return l, nil
		}
	}
	return nil, errors.New("the machine has no ethernet interface")
}

// requestLease asks for a new lease, or for the old one again. The client's
// raw socket sees every packet, so it lives no longer than the exchange.
func requestLease(ctx context.Context, name string, old *nclient4.Lease) (*nclient4.Lease, error) {
	c, err := nclient4.New(name, nclient4.WithTimeout(time.Second), nclient4.WithRetry(8))
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", name, err)
	}
	defer c.Close()
	var lease *nclient4.Lease
	if old != nil {
		lease, err = c.Renew(ctx, old)
	} else {
		lease, err = c.Request(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("DHCP on %s: %w", name, err)
	}
	return lease, nil
}

// renewLease asks again at half of each lease (RFC 2131, section 4.4.5) and
// tries on when nobody answers.
func renewLease(ctx context.Context, link netlink.Link, lease *nclient4.Lease) {
	for {
		half := max(lease.ACK.IPAddressLeaseTime(time.Hour)/2, time.Minute)
		select {
		case <-ctx.Done():
			return
		case <-time.After(half):
		}
		if next, err := requestLease(ctx, link.Attrs().Name, lease); err == nil {
			lease = next
		}
	}
}

func applyLease(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr, Mask: ack.SubnetMask()}}
	if addr.Mask == nil {
		return errors.New("DHCP gave no subnet mask")
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("address %s: %w", addr, err)
	}
	if gateways := ack.Router(); len(gateways) > 0 {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateways[0]}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("route by %s: %w", gateways[0], err)
		}
	}
	if err := unix.Sethostname([]byte(hostname(ack.HostName()))); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	return writeResolver(ack)
}

// hostname takes a name that was given only when it is one (RFC 1123, 2.1):
// it is written to files whose lines mean something.
func hostname(given string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	}
	if given == "" || len(given) > 63 || strings.ContainsFunc(given, odd) {
		return defaultHostname
	}
	return given
}

func writeResolver(ack *dhcpv4.DHCPv4) error {
	var b strings.Builder
	for _, ip := range ack.DNS() {
		fmt.Fprintf(&b, "nameserver %s\n", ip)
	}
	return atomicfile.WriteFile(resolverFile, []byte(b.String()), 0o644)
}

// openSysctls lets a workload that is not root listen on port 80, as the
// usual container engines do, and every workload ping without raw sockets: the
// network namespace is its own.
func openSysctls() error {
	return errors.Join(
		os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0o644),
		os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0o644))
}
