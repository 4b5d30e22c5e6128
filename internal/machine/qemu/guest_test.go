package qemu

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
	"holdfast/internal/machine"
)

// kernelVariable names the kernel that tests boot: a vmlinuz in a boot
// folder, with lib/modules beside that folder, as a package unpacks.
const kernelVariable = "HOLDFAST_TEST_KERNEL"

// testKernel gives a kernel to boot or skips the test.
func testKernel(t testing.TB) string {
	t.Helper()
	path := os.Getenv(kernelVariable)
	if path == "" {
		t.Skipf("needs a kernel: set %s to an unpacked linux-image-cloud-amd64's boot/vmlinuz-*", kernelVariable)
	}
	return path
}

// guest gives a kernel and an initramfs whose process 1 does what mode says.
func guest(t testing.TB, mode string) *machine.Kernel {
	t.Helper()
	kernel := testKernel(t)
	init := filepath.Join(t.TempDir(), "init")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", init, "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest's init: %v\n%s", err, out)
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	files := append([]string{init}, modules(t, kernel)...)
	if err := os.WriteFile(initrd, initramfs(t, files), 0o600); err != nil {
		t.Fatal(err)
	}
	return &machine.Kernel{Image: kernel, Initrd: initrd, Cmdline: "console=ttyS0 panic=-1 quiet cryptomgr.notests no_timer_check test=" + mode}
}

// modules gives the files of all that the test's process 1 may need, in the
// order of loading.
func modules(t testing.TB, kernel string) (files []string) {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	root := filepath.Join(filepath.Dir(filepath.Dir(kernel)), "lib/modules", version)
	tree, err := kmod.Open(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	all, err := tree.Resolve("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "qemu_fw_cfg", "dm_verity")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		files = append(files, filepath.Join(root, m.Path))
	}
	return files
}

// initramfs packs the init and then the modules, numbered.
func initramfs(t testing.TB, files []string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	archive := cpio.NewWriter(zip, time.Unix(0, 0))
	errs := archive.Add(cpio.Dir("modules", 0o755))
	for i, path := range files {
		data, err := os.ReadFile(path)
		name := "init"
		if i > 0 {
			name = fmt.Sprintf("modules/%02d.ko", i)
		}
		errs = errors.Join(errs, err, archive.Add(cpio.File(name, 0o755, int64(len(data)), bytes.NewReader(data))))
	}
	if err := errors.Join(errs, archive.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// diskOf writes a disk with that content.
func diskOf(t testing.TB, fill func(io.Writer) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(fill(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}
