package container

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestNamesOfANetworkFitIntoTheKernelsAndAreItsOwn(t *testing.T) {
	n := Network{ID: "0a1b2c3d", Subnet: netip.MustParsePrefix("10.89.7.0/24")}
	if n.Gateway().String() != "10.89.7.1" {
		t.Errorf("got gateway %s", n.Gateway())
	}
	if name := n.outside(9999); len(name) > 15 || !strings.HasPrefix(name, n.bridge()+".") { // IFNAMSIZ
		t.Errorf("got link %s on %s", name, n.bridge())
	}
	if !bridgeForm.MatchString(n.bridge()) || bridgeForm.MatchString(n.outside(1)) {
		t.Error("bridges are not told from links")
	}
	if rules := n.rules(); strings.Contains(rules, "TABLE") || strings.Contains(rules, "BRIDGE") || strings.Contains(rules, "SUBNET") || strings.Contains(rules, "COME") || strings.Contains(rules, "OWN") {
		t.Errorf("not all is filled in:\n%s", rules)
	}
}

func TestAListThatOthersChangedMeanwhileIsAskedForAgain(t *testing.T) {
	asked := 0
	got, err := whole(func() ([]int, error) {
		if asked++; asked < 3 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || asked != 3 || len(got) != 2 {
		t.Errorf("got %v, %v after %d questions, want both after 3", got, err, asked)
	}
}

func TestAPortOfLoopbackIsNotLedFromOutside(t *testing.T) {
	n := Network{ID: "0a1b2c3d", Subnet: netip.MustParsePrefix("10.89.7.0/24")}
	for _, host := range []string{"127.0.0.1:8080", "0.0.0.0:8081", "192.0.2.1:8082"} {
		n.Ports = append(n.Ports, Port{Host: netip.MustParseAddrPort(host), Machine: netip.MustParseAddrPort("10.89.7.2:30080"), Proto: "tcp"})
	}
	const to = " dnat ip to 10.89.7.2:30080\n"
	any, named := "\t\tfib daddr type local tcp dport 8081"+to, "\t\tip daddr 192.0.2.1 tcp dport 8082"+to
	if got := n.lead(true); got != any+named {
		t.Errorf("what comes: got %q", got)
	}
	if got := n.lead(false); got != "\t\tip daddr 127.0.0.1 tcp dport 8080"+to+any+named {
		t.Errorf("what the host sends: got %q", got)
	}
}

// Of two networks with the same addresses the later does not stay.
func TestANetworkIsNotMadeWhereAnotherHasItsAddresses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes bridges as root, in a network of its own: run make test as root")
	}
	done := make(chan error, 1)
	go func() { // whose thread ends with it, and the network with that
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		one := Network{ID: "0a1b2c3d", Subnet: netip.MustParsePrefix("10.89.7.0/24"), MTU: 1400}
		two := Network{ID: "1a1b2c3d", Subnet: one.Subnet, MTU: 1400}
		other := Network{ID: "2a1b2c3d", Subnet: netip.MustParsePrefix("10.89.8.0/24"), MTU: 1400}
		for _, step := range []struct {
			up   Network
			want error
		}{{one, nil}, {two, ErrTaken}, {one, nil}, {other, nil}, {two, ErrTaken}} {
			if err := step.up.Up(); !errors.Is(err, step.want) {
				t.Errorf("%s: got %v, want %v", step.up.ID, err, step.want)
			}
		}
		if n, err := Bridges(); n != 2 || err != nil {
			t.Errorf("got %d bridges, %v, want 2", n, err)
		}
		done <- errors.Join(one.Down(), two.Up())
	}()
	check(t, <-done)
}
