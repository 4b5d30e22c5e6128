package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const bare = "HOLDFAST_TEST_WITHOUT_CGROUPS"

// In a process that sees no control groups, as one in a chroot, groups are made and
// removed all the same, and nothing stays mounted.
func TestControlGroupsAreFoundWhereNobodyMountedThem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts control groups: run as root")
	}
	if os.Getenv(bare) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), bare+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	check(t, unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	if err := unix.Unmount(cgroupRoot, unix.MNT_DETACH); err != unix.EINVAL { // nothing is mounted: what the test wants
		check(t, err)
	}
	check(t, Check())
	sleeper := exec.Command("/bin/sleep", "60")
	check(t, sleeper.Start())
	id := fmt.Sprintf("%08x", os.Getpid()) // another's test has another
	g, err := joinCgroups(id, "node", sleeper.Process.Pid)
	check(t, err)
	raw, err := os.ReadFile(filepath.Join("/proc", "self", "cgroup"))
	check(t, err)
	if g.version == 1 && len(g.controllers) != len(parseHierarchies(raw)) {
		t.Errorf("got %v of\n%s", g.controllers, raw)
	}
	check(t, sleeper.Process.Kill())
	_ = sleeper.Wait()
	check(t, RemoveCgroups(id, ""))
	check(t, withGroups(func(g groups) error {
		for _, top := range g.tops() {
			if _, err := os.Stat(filepath.Join(top, ours, id)); err == nil {
				t.Errorf("%s has the group still", top)
			}
		}
		return nil
	}))
	if g, err := readGroups(); g.version == 2 || len(g.controllers) > 0 {
		t.Errorf("got %+v, %v: it is mounted still", g, err)
	}
}

func TestHierarchiesOfAProcessAreTold(t *testing.T) {
	for text, want := range map[string][]string{
		"0::/init.scope\n": nil,
		"5:cpu,cpuacct:/a:b\n1:name=systemd:/\n0::/\n": {"cpu,cpuacct", "name=systemd"},
		"": nil, "x\n": nil,
	} {
		if got := parseHierarchies([]byte(text)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestAFilesystemOfNoKernelIsMissed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("opens filesystems: run as root")
	}
	if !hasFilesystem("tmpfs") || hasFilesystem("holdfastfs") {
		t.Errorf("tmpfs: %v, holdfastfs: %v", hasFilesystem("tmpfs"), hasFilesystem("holdfastfs"))
	}
}
