package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/atomicfile"
)

// maxLink is more than a link takes to say.
const maxLink = 8 << 10

// givenLink reads what the host says of the machine's place; ok is false when it says
// nothing, and DHCP is asked.
func givenLink(dir string) (l api.GuestLink, ok bool, err error) {
	file := filepath.Join(dir, api.LinkFile)
	size, err := readInt(filepath.Join(file, "size"))
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err == nil && (size <= 0 || size > maxLink) {
		err = fmt.Errorf("%d bytes, want 1 to %d", size, maxLink)
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(filepath.Join(file, "raw"))
	}
	if err == nil {
		err = unmarshalStrictly(raw, &l)
	}
	if err == nil {
		err = l.Check()
	}
	if err != nil {
		return l, false, fmt.Errorf("%s: %w", api.LinkFile, err)
	}
	return l, true, nil
}

// applyGiven does with it what applyLease does with a lease.
func applyGiven(link netlink.Link, l api.GuestLink) error {
	if l.MTU > 0 {
		if err := netlink.LinkSetMTU(link, l.MTU); err != nil {
			return fmt.Errorf("MTU %d: %w", l.MTU, err)
		}
	}
	ip := net.IPNet{IP: l.Address.Addr().AsSlice(), Mask: net.CIDRMask(l.Address.Bits(), 32)}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &ip}); err != nil {
		return fmt.Errorf("address %s: %w", l.Address, err)
	}
	// A gateway need not be in the network of the address.
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: l.Gateway.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route by %s: %w", l.Gateway, err)
	}
	if err := unix.Sethostname([]byte(defaultHostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	return atomicfile.WriteFile(resolverFile, resolverOf(l), 0o644)
}

// resolverOf is resolv.conf(5).
func resolverOf(l api.GuestLink) []byte {
	var b strings.Builder
	for _, ip := range l.Resolvers {
		fmt.Fprintf(&b, "nameserver %s\n", ip)
	}
	if len(l.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(l.Search, " "))
	}
	if l.Ndots > 0 {
		fmt.Fprintf(&b, "options ndots:%d\n", l.Ndots)
	}
	return []byte(b.String())
}
