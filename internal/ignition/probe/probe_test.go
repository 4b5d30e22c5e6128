package probe

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	someUUID = "6f1cf2d0-6ba7-4e6e-9b61-9c3ac0bd1a3f"
	disk     = "DISK"
)

// made are devices as the tools that own the formats make them.
var made = []struct {
	name string
	size int64
	tool []string
}{
	{"nothing", 8 << 20, []string{"true"}},
	{"ext2", 8 << 20, []string{"mkfs.ext2", "-q", "-F", "-L", "a label", "-U", someUUID, disk}},
	{"ext3", 8 << 20, []string{"mkfs.ext3", "-q", "-F", "-U", someUUID, disk}},
	{"ext4", 8 << 20, []string{"mkfs.ext4", "-q", "-F", "-L", "sixteen-chars-ok", "-U", someUUID, disk}},
	{"ext4 without a journal", 8 << 20, []string{"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-U", someUUID, disk}},
	{"xfs", 320 << 20, []string{"mkfs.xfs", "-q", "-L", "data", "-m", "uuid=" + someUUID, disk}},
	{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q", "-L", "pool-1", "-U", someUUID, disk}},
	{"fat12", 4 << 20, []string{"mkfs.fat", "-F", "12", "-n", "EFI SYS", "-i", "1a2b3c4d", disk}},
	{"fat16", 32 << 20, []string{"mkfs.fat", "-F", "16", "-i", "1a2b3c4d", disk}},
	{"fat32", 64 << 20, []string{"mkfs.fat", "-F", "32", "-n", "BOOT", "-i", "A2B3C4D5", disk}},
	{"fat32 of 4k sectors", 300 << 20, []string{"mkfs.fat", "-S", "4096", "-F", "32", "-n", "BOOT", disk}},
	{"swap", 4 << 20, []string{"mkswap", "-q", "-L", "swappy", "-U", someUUID, disk}},
	{"swap of large pages", 4 << 20, []string{"mkswap", "-q", "-p", "65536", "-U", someUUID, disk}},
	{"luks1", 20 << 20, []string{"cryptsetup", "luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--uuid", someUUID, disk, "/proc/version"}},
	{"luks2", 20 << 20, []string{"cryptsetup", "luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--label", "secret", "--uuid", someUUID, disk, "/proc/version"}},
	{"iso9660", 0, []string{"genisoimage", "-quiet", "-V", "config-2", "-o", disk, "/etc/hostname"}},
	{"iso9660 with Joliet", 0, []string{"genisoimage", "-quiet", "-J", "-r", "-V", "cidata", "-o", disk, "/etc/hostname"}},
	{"squashfs", 0, []string{"mksquashfs", "/etc/hostname", disk, "-quiet", "-noappend", "-no-progress"}},
}

func makeDevice(t *testing.T, size int64, tool []string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if size > 0 {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath(tool[0]); err != nil {
		t.Skipf("needs %s: run make test-tools", tool[0])
	}
	args := strings.Split(strings.ReplaceAll(strings.Join(tool[1:], "\n"), disk, path), "\n")
	if out, err := exec.Command(tool[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", tool, err, out)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func sizeOf(t *testing.T, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// blkid says what it finds, or is told that nothing is there.
func blkid(t *testing.T, path string) Found {
	t.Helper()
	tool, err := exec.LookPath("blkid")
	if err != nil {
		t.Skip("needs blkid: apt-get install util-linux")
	}
	out, err := exec.Command(tool, "-p", "-u", "filesystem,raid,crypto,other", "-o", "export", path).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
		t.Fatalf("blkid: %v: %s", err, out)
	}
	var f Found
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch key {
		case "TYPE":
			f.Type = value
		case "LABEL":
			f.Label = strings.ReplaceAll(value, `\ `, " ")
		case "UUID":
			f.UUID = value
		}
	}
	return f
}

func TestDevicesAreToldAsBlkidTellsThem(t *testing.T) {
	for _, m := range made {
		t.Run(m.name, func(t *testing.T) {
			f := makeDevice(t, m.size, m.tool)
			got, err := One(f, sizeOf(t, f))
			if err != nil {
				t.Fatal(err)
			}
			want := blkid(t, f.Name())
			if got.Type != want.Type || got.Label != want.Label || got.UUID != want.UUID {
				t.Errorf("got %q %q %q, blkid says %q %q %q", got.Type, got.Label, got.UUID, want.Type, want.Label, want.UUID)
			}
			if (got.Type == "") != (m.name == "nothing") {
				t.Errorf("found %q", got.Type)
			}
		})
	}
}

// After Wipe neither we nor blkid find anything, and only marks have changed.
func TestWipingTakesSignaturesOnly(t *testing.T) {
	for _, m := range made {
		t.Run(m.name, func(t *testing.T) {
			f := makeDevice(t, m.size, m.tool)
			before, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := Wipe(f, sizeOf(t, f)); err != nil {
				t.Fatal(err)
			}
			if got := blkid(t, f.Name()); got.Type != "" {
				t.Errorf("blkid finds %q", got.Type)
			}
			after, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			changed := 0
			for i := range before {
				if before[i] != after[i] {
					changed++
				}
			}
			if changed > 24 {
				t.Errorf("%d bytes changed", changed)
			}
		})
	}
}

func TestTwoFilesystemsAreAmbivalent(t *testing.T) {
	f := makeDevice(t, 128<<20, []string{"mkfs.btrfs", "-q", disk})
	if _, err := f.WriteAt([]byte("\x53\xef"), 1080); err != nil {
		t.Fatal(err)
	}
	got, err := One(f, sizeOf(t, f))
	if !errors.Is(err, ErrAmbivalent) || got.Type != "ext2" {
		t.Errorf("got %q and %v", got.Type, err)
	}
}

// A member's superblock made by hand, as mdadm needs a kernel with md; the
// layouts are linux/raid/md_p.h's.
func TestRaidMembersHideWhatIsInside(t *testing.T) {
	f := makeDevice(t, 16<<20, []string{"mkfs.ext4", "-q", "-F", disk})
	size := sizeOf(t, f)
	for _, at := range []int64{4096, size - 8192} {
		sb := make([]byte, 256)
		le.PutUint32(sb, mdMagic)
		le.PutUint32(sb[4:], 1)
		copy(sb[16:], "\x6f\x1c\xf2\xd0\x6b\xa7\x4e\x6e\x9b\x61\x9c\x3a\xc0\xbd\x1a\x3f")
		copy(sb[32:], "any:data")
		le.PutUint64(sb[144:], uint64(at/512))
		if _, err := f.WriteAt(sb, at); err != nil {
			t.Fatal(err)
		}
		got, err := One(f, size)
		if err != nil || got.Type != "linux_raid_member" || got.Label != "any:data" || got.UUID != someUUID {
			t.Errorf("at %d: got %+v, %v", at, got, err)
		}
		if want := blkid(t, f.Name()); want.Type != got.Type || want.UUID != got.UUID || want.Label != got.Label {
			t.Errorf("at %d: got %+v, blkid says %+v", at, got, want)
		}
		if _, err := f.WriteAt(make([]byte, 256), at); err != nil {
			t.Fatal(err)
		}
	}
}

//fuzz:parser vfat.go:vfat,fatLayout,fatMagic,label,volumeEntry filesystems.go:iso9660,jolietLabel,swap,text containers.go:lukAt
func FuzzProbe(f *testing.F) {
	f.Add([]byte("XFSB\x00\x00\x10\x00"), uint32(0))
	f.Add([]byte("LUKS\xba\xbe\x00\x02"), uint32(0))
	f.Add([]byte("\x01CD001"), uint32(32<<10))
	f.Add([]byte("\xeb\x3c\x90mkfs.fat\x00\x02\x04\x04\x00\x02\x00\x02\x00\x20\xf8\x08\x00"), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint32) {
		whole := make([]byte, 128<<10)
		copy(whole[int(at)%len(whole):], b)
		list, err := All(bytes.NewReader(whole), int64(len(whole)))
		if err != nil {
			t.Errorf("a device in memory: %v", err)
		}
		for _, found := range list {
			if found.Type == "" || len(found.marks) == 0 {
				t.Errorf("found %+v", found)
			}
		}
	})
}
