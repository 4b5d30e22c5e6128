// Package egress keeps the programs of a cgroup from starting conversations
// with what is nearer than the Internet: the machine's own link, behind whose
// addresses a hypervisor puts its host.
//
// The kernel judges every packet as it leaves, so no way of opening a socket
// goes round it, except by raw and packet sockets: whoever is fenced in must
// not have CAP_NET_RAW. Conversations that came from outside go on.
package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Rules say what is near. The machine speaks IPv4: over IPv6 nothing leaves.
type Rules struct {
	Address   netip.Prefix // of the machine on its link
	Resolvers []netip.Addr // may be asked at port 53, near or not
}

// Errors of rules that say too little.
var (
	errAddress  = errors.New("egress: the machine's address is not an IPv4 address with its network")
	errResolver = errors.New("egress: a resolver's address is not IPv4")
)

// near is what nobody speaks to: the link, link-local addresses (RFC 3927: the
// metadata of clouds is at one), and all neighbours at once.
func (r Rules) near() []netip.Prefix {
	return []netip.Prefix{r.Address.Masked(), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("255.255.255.255/32")}
}

// beyond is near for a packet on its way out of the machine. A socket bound to
// the interface sends the loopback's addresses there as well.
func (r Rules) beyond() []netip.Prefix {
	return append(r.near(), netip.MustParsePrefix("127.0.0.0/8"))
}

func (r Rules) check() error {
	if !r.Address.IsValid() || !r.Address.Addr().Is4() {
		return errAddress
	}
	for _, ip := range r.Resolvers {
		if !ip.Is4() {
			return errResolver
		}
	}
	return nil
}

// Attach fences in the sockets that processes of the cgroup (version 2), or of
// one below it, will open from now on, for as long as the cgroup is there.
func Attach(cgroup string, r Rules) error {
	dir, err := os.Open(cgroup)
	if err != nil {
		return err
	}
	defer dir.Close()
	programs, err := load(r)
	if err != nil {
		return err
	}
	defer programs.close()
	for _, p := range programs {
		if err := attach(int(dir.Fd()), p.fd, p.hook); err != nil {
			return fmt.Errorf("attach %s to %s: %w", p.name, cgroup, err)
		}
	}
	return nil
}

// A program is in the kernel until it is closed and attached nowhere.
type program struct {
	name string
	fd   int
	hook uint32
}

type programs []program

func (all programs) close() {
	for _, p := range all {
		_ = unix.Close(p.fd)
	}
}

// load brings the programs into the kernel. The map is theirs together.
func load(r Rules) (programs, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	heard, err := newMap(keySize)
	if err != nil {
		return nil, fmt.Errorf("egress: make map: %w", err)
	}
	defer unix.Close(heard)
	var all programs
	for _, p := range []struct {
		name       string
		kind, hook uint32
		code       []byte
	}{
		{"egress", unix.BPF_PROG_TYPE_CGROUP_SKB, unix.BPF_CGROUP_INET_EGRESS, r.leaving(heard)},
		{"ingress", unix.BPF_PROG_TYPE_CGROUP_SKB, unix.BPF_CGROUP_INET_INGRESS, r.arriving(heard)},
		{"connect4", unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, unix.BPF_CGROUP_INET4_CONNECT, r.connecting(false)},
		{"connect6", unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, unix.BPF_CGROUP_INET6_CONNECT, r.connecting(true)},
	} {
		fd, err := loadProgram(p.kind, p.hook, p.code)
		if err != nil {
			all.close()
			return nil, fmt.Errorf("egress: load program %s: %w", p.name, err)
		}
		all = append(all, program{p.name, fd, p.hook})
	}
	return all, nil
}
