package chain

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast/internal/boot/uki"
	"holdfast/internal/image"
	"holdfast/internal/keys"
)

// copyGuest gives the test a machine image of its own to break.
func (b *bench) copyGuest(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "guest")
	tool(t, "cp", "-a", "--sparse=always", b.guest.Dir, dir)
	return dir
}

// replaceUKI puts the image's UKI, changed by change and signed by ring's db
// key, into the EFI partition.
func replaceUKI(t *testing.T, dir string, ring *keys.Ring, change func([]byte) []byte) {
	t.Helper()
	m, err := image.ReadMachine(dir)
	if err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(t.TempDir(), "bare.efi")
	tool(t, "cp", m.UKIPath(), bare)
	tool(t, "sbattach", "--remove", bare)
	raw, err := os.ReadFile(bare)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		changed := change(raw)
		if string(changed) == string(raw) {
			t.Fatal("the change found nothing to change")
		}
		raw = changed
	}
	db := ring.Pair(keys.DB)
	signed, err := uki.Sign(raw, db.Certificate, db.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bare, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	esp := fmt.Sprintf("%s@@%d", m.DiskPath(), partition(t, m, "esp").Start)
	tool(t, "mcopy", "-o", "-i", esp, bare, "::/EFI/BOOT/BOOTX64.EFI")
}

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
