package mount

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sys/unix"

	"holdfast/internal/ignition"
)

func config(t *testing.T, filesystems string) types.Config {
	t.Helper()
	var c types.Config
	if err := json.Unmarshal([]byte(filesystems), &c.Storage.Filesystems); err != nil {
		t.Fatal(err)
	}
	return c
}

// loop is a loop device of an ext4 filesystem, and a skip where there is none.
func loop(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.ext4 (apt-get install e2fsprogs): %v: %s", err, out)
	}
	out, err := exec.Command("losetup", "-f", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and loop devices, as in a virtual machine: %s", out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", dev).Run() })
	return dev
}

func TestMountsGoBelowTheRootAndComeOffAgain(t *testing.T) {
	outer, inner, root, state := loop(t), loop(t), t.TempDir(), &ignition.State{}
	c := config(t, fmt.Sprintf(`[{"device":%q,"path":"/var/lib/in","format":"ext4","mountOptions":["ro","noatime","errors=remount-ro"]},
		{"device":%q,"path":"/var","format":"ext4"},{"device":"/dev/none","path":"/swap","format":"swap"},{"device":"/dev/none","format":"ext4"}]`, inner, outer))
	down := NewUmount(Config{Root: root})
	t.Cleanup(func() {
		for _, p := range []string{"var/lib/in", "var"} {
			_ = unix.Unmount(filepath.Join(root, p), unix.MNT_DETACH)
		}
	})
	for range 2 { // again: nothing to do
		if err := New(Config{Root: root, State: state}).Run(context.Background(), c); err != nil {
			t.Fatal(err)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	if want := fmt.Sprintf("%s %s/var/lib/in ext4 ro,noatime,errors=remount-ro", inner, root); strings.Count(string(mounts), want) != 1 {
		t.Errorf("want one %q in\n%s", want, mounts)
	}
	if want := []string{"/var", "/var/lib", "/var/lib/in"}; !reflect.DeepEqual(state.NotatedDirectories, want) {
		t.Errorf("noted %v, want %v", state.NotatedDirectories, want)
	}
	if err := down.Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), root) {
		t.Errorf("still mounted:\n%s", mounts)
	}
}

func TestNoLinkLeadsToAMountPoint(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "var")); err != nil {
		t.Fatal(err)
	}
	err := New(Config{Root: root}).Run(context.Background(), config(t, `[{"device":"/dev/null","path":"/var/lib","format":"ext4"}]`))
	if err == nil || !strings.Contains(err.Error(), "$.storage.filesystems[0]") || !strings.Contains(err.Error(), "links are not followed") {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made %v outside of the root", left)
	}
}

func TestUnknownOptionsAreRefusedByTheKernel(t *testing.T) {
	err := New(Config{Root: t.TempDir()}).Run(context.Background(),
		config(t, fmt.Sprintf(`[{"device":%q,"path":"/data","format":"ext4","mountOptions":["ignition"]}]`, loop(t))))
	if err == nil || !strings.Contains(err.Error(), `options "ignition"`) {
		t.Errorf("got %v", err)
	}
}

func TestOptionsBecomeFlags(t *testing.T) {
	for _, c := range []struct {
		options []string
		flags   uintptr
		data    string
	}{
		{nil, 0, ""},
		{[]string{"defaults", "x-systemd.automount", "nofail"}, 0, ""},
		{[]string{"ro", "rw", "nosuid,nodev"}, unix.MS_NOSUID | unix.MS_NODEV, ""},
		{[]string{"noatime", "subvol=home", "compress=zstd"}, unix.MS_NOATIME, "subvol=home,compress=zstd"},
	} {
		if flags, data := parse(c.options); flags != c.flags || data != c.data {
			t.Errorf("%v: got %x %q, want %x %q", c.options, flags, data, c.flags, c.data)
		}
	}
}
