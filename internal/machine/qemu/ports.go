package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"holdfast/internal/machine"
)

// A PortTakenError says that a port to be published is in use on the host.
type PortTakenError struct {
	Addr  netip.AddrPort
	Proto string
}

func (e *PortTakenError) Error() string {
	return fmt.Sprintf("host port %s/%s is taken: publish on another one", e.Addr, e.Proto)
}

// checkPorts finds out whether all ports can be had, by having them all at
// once for a moment.
func checkPorts(ctx context.Context, ports []machine.Forward) error {
	var held []io.Closer
	defer func() { closeAll(held) }()
	for _, p := range ports {
		c, err := listen(ctx, p)
		if errors.Is(err, syscall.EADDRINUSE) {
			return &PortTakenError{Addr: netip.AddrPortFrom(p.HostIP, p.HostPort), Proto: p.Proto}
		}
		if err != nil {
			return fmt.Errorf("publish %s: %w", p, err)
		}
		held = append(held, c)
	}
	return nil
}

func listen(ctx context.Context, p machine.Forward) (io.Closer, error) {
	addr := netip.AddrPortFrom(p.HostIP, p.HostPort).String()
	if p.Proto == "udp" {
		return new(net.ListenConfig).ListenPacket(ctx, "udp4", addr)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp4", addr)
}

// resolvePorts fills in the host ports that QEMU picked. It asks QEMU, so no
// port is ever free for another to take between the choice and its use.
func resolvePorts(ctx context.Context, m *monitor, ports []machine.Forward) error {
	if len(ports) == 0 {
		return nil
	}
	text, err := m.human(ctx, "info usernet")
	if err != nil {
		return err
	}
	picked := parseUsernet(text)
	for i, p := range ports {
		if p.HostPort != 0 {
			continue
		}
		j := indexForward(picked, p)
		if j < 0 {
			return fmt.Errorf("QEMU does not tell the host port of %s", p)
		}
		ports[i].HostPort = picked[j].HostPort
		picked = append(picked[:j], picked[j+1:]...)
	}
	return nil
}

func indexForward(all []machine.Forward, want machine.Forward) int {
	for i, f := range all {
		want.HostPort = f.HostPort
		if f == want {
			return i
		}
	}
	return -1
}

// parseUsernet reads the forwards from QEMU's table (net/slirp.c, libslirp
// src/misc.c): protocol[state], descriptor, source address and port,
// destination address and port, queues.
func parseUsernet(text string) []machine.Forward {
	var all []machine.Forward
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || !strings.HasSuffix(fields[0], "[HOST_FORWARD]") {
			continue
		}
		ip, err1 := netip.ParseAddr(strings.Replace(fields[2], "*", "0.0.0.0", 1))
		host, err2 := strconv.ParseUint(fields[3], 10, 16)
		guest, err3 := strconv.ParseUint(fields[5], 10, 16)
		if errors.Join(err1, err2, err3) != nil {
			continue
		}
		proto := strings.ToLower(strings.TrimSuffix(fields[0], "[HOST_FORWARD]"))
		all = append(all, machine.Forward{HostIP: ip, HostPort: uint16(host), GuestPort: uint16(guest), Proto: proto})
	}
	return all
}
