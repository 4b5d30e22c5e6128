package cluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// A host is what this machine has that a cluster could leave: lines of one kind
// each.
type host map[string][]string

// ownLinks and the like are what clusters are told by: others work on this machine,
// too.
var (
	ownLinks  = regexp.MustCompile(`^hf[0-9a-f]{8}`)
	ownGroups = regexp.MustCompile(`/holdfast/[0-9a-f]{8}`)
)

func hostNow(t *testing.T) host {
	t.Helper()
	h := host{}
	links, err := netlink.LinkList()
	check(t, err)
	for _, l := range links {
		if name := l.Attrs().Name; ownLinks.MatchString(name) {
			h["link"] = append(h["link"], name)
		}
	}
	raw, err := os.ReadFile("/proc/self/mounts")
	check(t, err)
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "/clusters/") {
			h["mount"] = append(h["mount"], line)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && ownGroups.MatchString(path) {
			h["cgroup"] = append(h["cgroup"], path)
		}
		return nil
	})
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		if strings.Contains(string(line), "/opt/holdfast/bin/") || strings.Contains(string(line), "holdfast-node\x00container") {
			h["process"] = append(h["process"], strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	for _, setting := range []string{"net/ipv4/ip_forward", "vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"} {
		raw, err := os.ReadFile("/proc/sys/" + setting)
		check(t, err)
		h["setting"] = append(h["setting"], setting+" "+string(raw))
	}
	for _, lines := range h {
		slices.Sort(lines)
	}
	return h
}

// rules asks the node image's nft, for this machine may have none.
func (l *lab) rules() []string {
	l.Helper()
	trees, err := filepath.Glob(filepath.Join(l.state, "images", "node-*", "usr/sbin/nft"))
	check(l.T, err)
	if len(trees) == 0 {
		return nil // no cluster was ever made
	}
	tree := strings.TrimSuffix(trees[0], "/usr/sbin/nft")
	var own []string
	for line := range strings.Lines(l.run("chroot", tree, "/usr/sbin/nft", "list", "tables")) {
		if strings.Contains(line, "holdfast_") {
			own = append(own, line)
		}
	}
	return own
}

// wantSame compares what the machine has with what it had.
func (l *lab) wantSame(before host) {
	l.Helper()
	after := hostNow(l.T)
	for _, kind := range []string{"link", "mount", "cgroup", "process", "setting"} {
		if !slices.Equal(before[kind], after[kind]) {
			l.Errorf("%s: got\n%s\nwant\n%s", kind, strings.Join(after[kind], "\n"), strings.Join(before[kind], "\n"))
		}
	}
	if left := l.rules(); len(left) > 0 {
		l.Errorf("nftables: %v is left", left)
	}
}
