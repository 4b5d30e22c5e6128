package container

import (
	"strconv"
	"strings"
	"testing"
)

// A process may call itself anything; when it began is still field 22.
//
//fuzz:parser identity.go:parseStart
func FuzzParseStart(f *testing.F) {
	f.Add("a) S 1 (b", uint64(4711))
	f.Add("", uint64(0))
	f.Fuzz(func(t *testing.T, name string, start uint64) {
		stat := "7 (" + name + ") S" + strings.Repeat(" 1", 18) + " " + strconv.FormatUint(start, 10) + " 20\n"
		if got, err := parseStart([]byte(stat)); err != nil || got != start {
			t.Fatalf("got %d, %v of %q", got, err, stat)
		}
		_, _ = parseStart([]byte(name))
	})
}

// Whatever mounts and groups a process is shown, no folder climbs out of where control
// groups are.
//
//fuzz:parser cgroup.go:parseMounts cgroup_mount.go:parseHierarchies
func FuzzHierarchies(f *testing.F) {
	f.Add("cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0\n", "5:cpu,cpuacct:/a:b\n0::/\n")
	f.Add("cgroup /sys/fs/cgroup/.. cgroup rw 0 0\nx", "1:../..:/\n::\n")
	f.Fuzz(func(t *testing.T, mounts, own string) {
		for folder := range parseMounts([]byte(mounts)) {
			if strings.Contains(folder, "/") || folder == ".." || folder == "." {
				t.Fatalf("got folder %q of %q", folder, mounts)
			}
		}
		for _, h := range parseHierarchies([]byte(own)) {
			if h == "" {
				t.Fatalf("got an empty hierarchy of %q", own)
			}
		}
	})
}
