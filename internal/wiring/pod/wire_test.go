package pod

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestTheMachineTakesThePodsAddress(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace: run make test as root")
	}
	ns := fmt.Sprint("hfwire", os.Getpid())
	ip(t, "netns", "add", ns)
	defer ip(t, "netns", "del", ns)
	ip(t, "-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", "far")
	ip(t, "-n", ns, "link", "set", "eth0", "address", "02:00:00:00:00:07", "mtu", "1400", "up")
	ip(t, "-n", ns, "link", "set", "far", "up")
	ip(t, "-n", ns, "address", "add", "10.9.8.7/24", "dev", "eth0")
	ip(t, "-n", ns, "route", "add", "default", "via", "10.9.8.1")
	w, loopback, err := Plug("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	defer loopback.Close()
	l := w.Link
	if w.MAC.String() != "02:00:00:00:00:07" || l.Address.String() != "10.9.8.7/24" || l.Gateway.String() != "10.9.8.1" || l.MTU != 1400 || l.Check() != nil {
		t.Errorf("got %s, %+v, %v", w.MAC, l, l.Check())
	}
	if left := ip(t, "-n", ns, "-4", "address", "show", "dev", "eth0"); strings.Contains(left, "10.9.8.7") {
		t.Errorf("the pod's link keeps the address: %s", left)
	}
	if links := ip(t, "-n", ns, "-br", "link", "show", "master", podBridge); !strings.Contains(links, "eth0@far") || !strings.Contains(links, podTap) || strings.Contains(links, "02:00:00:00:00:07") {
		t.Errorf("got on the bridge: %s", links)
	}
	if link := ip(t, "-n", ns, "-d", "link", "show", "dev", "eth0"); !strings.Contains(link, " learning off ") {
		t.Errorf("a bridge that sends broadcasts back takes the machine's address to itself: %s", link)
	}
	if err := w.Tap.Close(); err != nil {
		t.Fatal(err)
	}
	if links := ip(t, "-n", ns, "-br", "link"); strings.Contains(links, podTap) {
		t.Errorf("the tap outlives its file: %s", links)
	}
	if _, _, err := Plug("/run/netns/none"); err == nil {
		t.Error("a namespace that is not there was entered")
	}
}
