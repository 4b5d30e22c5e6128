package container

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
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
	if rules := n.rules(); strings.Contains(rules, "TABLE") || strings.Contains(rules, "BRIDGE") || strings.Contains(rules, "SUBNET") {
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
