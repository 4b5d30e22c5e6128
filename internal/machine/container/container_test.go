package container

import (
	"os"
	"os/exec"
	"testing"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAProcessIsKnownUntilItEndsAndNoOtherIsTakenForIt(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "60")
	check(t, cmd.Start())
	id, err := identify(cmd.Process.Pid)
	check(t, err)
	if alive, err := id.Alive(); !alive || err != nil {
		t.Fatalf("got alive %v, %v", alive, err)
	}
	other := id
	other.Start++ // the same number, given to another
	if alive, err := other.Alive(); alive || err != nil {
		t.Errorf("another process: got alive %v, %v", alive, err)
	}
	check(t, other.Stop(0))
	reborn := id
	reborn.Boot = "another boot"
	check(t, reborn.Stop(0))
	if alive, _ := id.Alive(); !alive {
		t.Fatal("it was stopped as another")
	}
	check(t, id.Stop(0))
	if alive, err := id.Alive(); alive || err != nil {
		t.Errorf("after stop: got alive %v, %v", alive, err)
	}
}

func TestAStartTimeIsReadWhateverTheNameHolds(t *testing.T) {
	got, err := parseStart([]byte("7 (a) R 1 (b) ) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"))
	if err != nil || got != 4711 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, bad := range []string{"", "7", "7 (a", "7 (a) S 1 2", "7 (a)"} {
		if _, err := parseStart([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	own, err := startTime(os.Getpid())
	if err != nil || own == 0 {
		t.Errorf("own: got %d, %v", own, err)
	}
}

func TestHierarchiesAreFoundWithTheirControllers(t *testing.T) {
	got := parseMounts([]byte(`tmpfs /sys/fs/cgroup tmpfs ro,mode=755 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,nosuid,nodev,noexec,relatime,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,nodev,noexec,relatime,cpu,cpuacct 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /elsewhere/memory cgroup rw,memory 0 0
`))
	if len(got) != 2 || got["systemd"] != "name=systemd" || got["cpu,cpuacct"] != "cpu,cpuacct" {
		t.Errorf("got %v", got)
	}
}
