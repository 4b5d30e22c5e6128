package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"holdfast/internal/cluster"
	"holdfast/internal/machine"
)

// parsePublish reads [[IP:]HOSTPORT:]PORT[/PROTO], as docker does.
func parsePublish(words []string) ([]machine.Forward, error) {
	var list []machine.Forward
	for _, word := range words {
		f, err := parseForward(word)
		if err != nil {
			return nil, fmt.Errorf("--publish %q: want [[IP:]HOSTPORT:]PORT[/udp]: %w", word, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func parseForward(word string) (machine.Forward, error) {
	ports, proto, _ := strings.Cut(word, "/")
	f := machine.Forward{Proto: proto}
	if proto != "" && proto != "tcp" && proto != "udp" {
		return f, fmt.Errorf("%q is neither tcp nor udp", proto)
	}
	parts := strings.Split(ports, ":")
	var err error
	if f.GuestPort, err = parsePort(parts[len(parts)-1]); err != nil || len(parts) == 1 {
		return f, err
	}
	if host := parts[len(parts)-2]; host != "" && host != "0" {
		if f.HostPort, err = parsePort(host); err != nil {
			return f, err
		}
	}
	if len(parts) == 3 {
		if f.HostIP, err = netip.ParseAddr(parts[0]); err != nil {
			return f, fmt.Errorf("%q is no IP address", parts[0])
		}
	}
	if len(parts) > 3 {
		err = errors.New("too many colons")
	}
	return f, err
}

func parsePort(word string) (uint16, error) {
	n, err := strconv.ParseUint(word, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to 65535", word)
	}
	return uint16(n), nil
}

// publishedPorts are those of a cluster, on addresses that its rules can name.
func publishedPorts(words []string) ([]cluster.Published, error) {
	list, err := parsePublish(words)
	if err != nil {
		return nil, err
	}
	var ports []cluster.Published
	for i, f := range list {
		if f.HostIP == (netip.Addr{}) {
			f.HostIP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if !f.HostIP.Is4() {
			return nil, fmt.Errorf("--publish %q: want an address of IPv4, which nodes have", words[i])
		}
		ports = append(ports, cluster.Published{
			Host: netip.AddrPortFrom(f.HostIP, cmp.Or(f.HostPort, f.GuestPort)), Port: f.GuestPort, Proto: cmp.Or(f.Proto, "tcp")})
	}
	return ports, nil
}
