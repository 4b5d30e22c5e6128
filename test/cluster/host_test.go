package cluster

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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

func (l *lab) hostNow() host {
	l.Helper()
	t, h := l.TB, host{}
	others := l.others()
	links, err := netlink.LinkList()
	check(t, err)
	for _, link := range links {
		if name := link.Attrs().Name; ownLinks.MatchString(name) && !others.has(name) {
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
		if err == nil && d.IsDir() && ownGroups.MatchString(path) && !others.has(path) {
			h["cgroup"] = append(h["cgroup"], path)
		}
		return nil
	})
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(t, err)
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		group, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup"))
		if others.has(string(group)) {
			continue
		}
		if strings.Contains(string(line), "/opt/holdfast/bin/") || strings.Contains(string(line), "holdfast-node\x00container") {
			h["process"] = append(h["process"], strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	settings := []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"}
	if len(others) == 0 { // else it is theirs to say
		settings = append(settings, "net/ipv4/ip_forward")
	}
	for _, setting := range settings {
		raw, err := os.ReadFile("/proc/sys/" + setting)
		check(t, err)
		h["setting"] = append(h["setting"], setting+" "+string(raw))
	}
	h["nftables"] = l.rules()
	for _, lines := range h {
		slices.Sort(lines)
	}
	return h
}

// ids are those of clusters.
type ids []string

func (i ids) has(text string) bool {
	return slices.ContainsFunc(i, func(id string) bool { return strings.Contains(text, id) })
}

// others are the clusters of other installations, which run on this machine, too:
// nothing that their process 1 has mounted is of this one.
func (l *lab) others() (all ids) {
	l.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(l.TB, err)
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		if !strings.HasPrefix(string(line), "holdfast-node\x00container") {
			continue
		}
		dir := filepath.Dir(path)
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if found := ownGroups.FindString(string(group)); found != "" && !strings.Contains(string(mounts), l.state+"/clusters/") {
			all = append(all, filepath.Base(found))
		}
	}
	return all
}

// nft has the node image's do something, for this machine may have none.
func (l *lab) nft(words string) string {
	l.Helper()
	trees, err := filepath.Glob(filepath.Join(l.state, "images", "node-*", "usr/sbin/nft"))
	check(l.TB, err)
	if len(trees) == 0 {
		return "" // no cluster was ever made
	}
	return l.run("chroot", strings.TrimSuffix(trees[0], "/usr/sbin/nft"), "/usr/sbin/nft", words)
}

// rules are tables of clusters of this installation.
func (l *lab) rules() (own []string) {
	l.Helper()
	others := l.others()
	for line := range strings.Lines(l.nft("list tables")) {
		if strings.Contains(line, "holdfast_") && !others.has(line) {
			own = append(own, line)
		}
	}
	return own
}

// wantSame compares what the machine has with what it had.
func (l *lab) wantSame(before host) {
	l.Helper()
	after := l.hostNow()
	if len(before["setting"]) != len(after["setting"]) { // others came or went
		delete(before, "setting")
		delete(after, "setting")
	}
	for _, kind := range []string{"link", "mount", "cgroup", "process", "setting", "nftables"} {
		if !slices.Equal(before[kind], after[kind]) {
			l.Errorf("%s: got\n%s\nwant\n%s", kind, strings.Join(after[kind], "\n"), strings.Join(before[kind], "\n"))
		}
	}
}
