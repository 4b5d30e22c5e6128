package api

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// LinkFile is the fw_cfg name under which a host tells a machine its place in a
// network where nobody answers DHCP. It is believed as DHCP is: nothing rests on it.
const LinkFile = "opt/holdfast/link"

// A GuestLink is that place, for the machine's one interface.
type GuestLink struct {
	Address   netip.Prefix `json:"address"`
	Gateway   netip.Addr   `json:"gateway"`
	Resolvers []netip.Addr `json:"resolvers,omitempty"`
	Search    []string     `json:"search,omitempty"` // domains
	Ndots     int          `json:"ndots,omitempty"`  // resolv.conf(5)
	MTU       int          `json:"mtu,omitempty"`
}

// domainForm is of the letters of RFC 1123: the name becomes part of a line of a file.
var domainForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// Check refuses what could not be set, or would be more than it says.
func (l GuestLink) Check() error {
	switch {
	case !l.Address.IsValid() || !l.Address.Addr().Is4():
		return fmt.Errorf("link: address %q: want IPv4, with the length of its network", l.Address)
	case !l.Gateway.Is4():
		return fmt.Errorf("link: gateway %q: want an IPv4 address", l.Gateway)
	case l.MTU != 0 && (l.MTU < 576 || l.MTU > 65535), l.Ndots < 0 || l.Ndots > 15:
		return fmt.Errorf("link: MTU %d, ndots %d: want 576 to 65535 and 0 to 15", l.MTU, l.Ndots)
	case len(l.Resolvers) > 8 || len(l.Search) > 32:
		return errors.New("link: more name servers or domains than any resolver reads")
	}
	for _, r := range l.Resolvers {
		if !r.Is4() {
			return fmt.Errorf("link: name server %q: want an IPv4 address", r)
		}
	}
	for _, domain := range l.Search {
		if !domainForm.MatchString(domain) {
			return fmt.Errorf("link: domain %.80q: want letters, digits, dots and inner hyphens", domain)
		}
	}
	return nil
}
