package container

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
)

// A Port of the host leads to a machine's.
type Port struct {
	Host, Machine netip.AddrPort // Host 0.0.0.0: any address of the host
	Proto         string         // "tcp" or "udp"
}

// PortFree says whether a program of the host listens where a port shall lead elsewhere.
func PortFree(proto string, host netip.AddrPort) error {
	if proto == "udp" {
		l, err := net.ListenPacket(proto, host.String())
		if err != nil {
			return err
		}
		return l.Close()
	}
	l, err := net.Listen(proto, host.String())
	if err != nil {
		return err
	}
	return l.Close()
}

// leadOwn lets what the host sends to itself leave by the bridge, for ports of 127.0.0.1.
// Rules keep machines from coming that way.
func (n Network) leadOwn() error {
	on := "0"
	if len(n.Ports) > 0 {
		on = "1"
	}
	return os.WriteFile("/proc/sys/net/ipv4/conf/"+n.bridge()+"/route_localnet", []byte(on), 0o644)
}

// lead are the rules that lead ports of the host to machines: for what it sends itself, or
// for what comes. Nothing that comes is led from 127.0.0.1: the rule would be asked before
// the kernel, which drops that.
func (n Network) lead(comes bool) string {
	var b strings.Builder
	for _, p := range n.Ports {
		host := p.Host.Addr()
		if comes && host.IsLoopback() {
			continue
		}
		to := "fib daddr type local"
		if !host.IsUnspecified() {
			to = "ip daddr " + host.String()
		}
		fmt.Fprintf(&b, "\t\t%s %s dport %d dnat ip to %s\n", to, p.Proto, p.Host.Port(), p.Machine)
	}
	return b.String()
}
