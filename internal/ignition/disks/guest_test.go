package disks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
	"holdfast/internal/machine/machinetest"
)

var guestModules = []string{"virtio_pci", "virtio_blk", "ext4", "raid1", "dm-mod", "dm-crypt", "af_alg", "algif_skcipher", "algif_hash",
	"xts", "sha256_generic", "ecb", "tpm_tis", "tpm_crb"}

var guestPrograms = []string{"mkfs.ext4", "mdadm", "cryptsetup"}

// The stage meets a kernel that reads partition tables and has md and dm, in a
// machine with a software TPM and without udev.
func TestAMachineGetsItsDisks(t *testing.T) {
	image, folder := machinetest.Kernel(t)
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, guestInitrd(t, folder), 0o600); err != nil {
		t.Fatal(err)
	}
	said := bootGuest(t, image, initrd, makeDisk(t, 260, nil), machinetest.TPM(t))
	for _, want := range []string{"ok: in the stage: device or resource busy", "ok: behind the stage: <nil> 1", "ok: disks", "ok: mount", "ok: again, file is kept", "ok: late has 32768 sectors", "ok: late has 40960 sectors",
		"ok: refused: $.storage.disks[0]: disk /dev/vda: partition 4 is in use", "wipeTable is set, but partitions are in use",
		"ok: refused: $.storage.filesystems[0]: filesystem on /dev/vda4: wipe:", "ok: bound"} {
		if !strings.Contains(said, want) {
			t.Errorf("want %q", want)
		}
	}
	if strings.Contains(said, "failed") || t.Failed() {
		t.Errorf("the machine said:\n%s", said)
	}
}

func bootGuest(t *testing.T, image, initrd, disk string, tpm []string) string {
	t.Helper()
	tool, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("needs QEMU: apt-get install qemu-system-x86")
	}
	args := []string{"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G", "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet loglevel=1 cryptomgr.notests no_timer_check",
		"-drive", "file=" + disk + ",format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d"}
	cmd := exec.CommandContext(t.Context(), tool, append(args, tpm...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(9*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("QEMU: %v", err)
	}
	return out.String()
}

// guestInitrd has modules in the order of loading, and programs of this
// machine with their libraries.
func guestInitrd(t *testing.T, folder string) []byte {
	t.Helper()
	files := map[string]string{}
	for _, p := range guestPrograms {
		at, err := exec.LookPath(p)
		if err != nil {
			t.Skipf("needs %s: run make test-tools", p)
		}
		files["usr/sbin/"+p] = at
		out, err := exec.Command("ldd", at).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
			files[strings.TrimPrefix(m[1], "/")] = m[1]
		}
	}
	tree, err := kmod.Open(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := tree.Resolve(guestModules...)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range modules {
		files[fmt.Sprintf("modules/%03d.ko", i)] = filepath.Join(folder, m.Path)
	}
	entries := []cpio.Entry{cpio.Dir("modules", 0o755), cpio.Dir("usr", 0o755), cpio.Dir("usr/sbin", 0o755), cpio.Dir("lib", 0o755), cpio.Dir("lib64", 0o755), cpio.Dir("lib/x86_64-linux-gnu", 0o755)}
	for name, from := range files {
		raw, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if dir := filepath.Dir(name); !strings.HasPrefix(dir, "lib") && dir != "modules" && dir != "usr/sbin" {
			t.Fatalf("no folder for %s", name)
		}
		entries = append(entries, cpio.File(name, 0o755, int64(len(raw)), bytes.NewReader(raw)))
	}
	init, err := machinetest.Program("./testdata/init")
	packed, packErr := machinetest.Initrd(init, entries...)
	if err := errors.Join(err, packErr); err != nil {
		t.Fatal(err)
	}
	return packed
}
