package chain

import (
	"os"
	"os/exec"
	"testing"

	"holdfast/internal/image"
)

func partition(t testing.TB, m *image.Machine, name string) image.Partition {
	t.Helper()
	for _, p := range m.Disk.Partitions {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no partition %s in %+v", name, m.Disk.Partitions)
	return image.Partition{}
}

func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed: make test installs it", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
