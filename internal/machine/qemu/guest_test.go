package qemu

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/machine"
)

// KernelVariable names the kernel that tests boot: a vmlinuz in a boot
// folder, with lib/modules beside that folder, as a package unpacks.
const kernelVariable = "HOLDFAST_TEST_KERNEL"

// guestModules are what the test's process 1 needs, in the order of loading.
var guestModules = []string{
	"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
	"virtio_console", "failover", "net_failover", "virtio_net", "qemu_fw_cfg",
}

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
	files := map[string]string{"init": init}
	for i, name := range guestModules {
		files[fmt.Sprintf("modules/%02d-%s.ko", i, name)] = findModule(t, kernel, name)
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, initramfs(t, files), 0o600); err != nil {
		t.Fatal(err)
	}
	return &machine.Kernel{Image: kernel, Initrd: initrd, Cmdline: "console=ttyS0 panic=-1 quiet test=" + mode}
}

func findModule(t testing.TB, kernel, name string) (found string) {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	root := filepath.Join(filepath.Dir(filepath.Dir(kernel)), "lib/modules", version)
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Base(path) == name+".ko" {
			found = path
		}
		return err
	})
	if found == "" {
		t.Fatalf("no module %s under %s", name, root)
	}
	return found
}

// initramfs packs files in the newc form (kernel: buffer-format.rst).
func initramfs(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	entry := func(name string, mode int, data []byte) {
		head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
		fmt.Fprintf(zip, "%s%s", head, make([]byte, -len(head)&3))
		fmt.Fprintf(zip, "%s%s", data, make([]byte, -len(data)&3))
	}
	entry("modules", 0o040755, nil)
	for name, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		entry(name, 0o100755, data)
	}
	entry("TRAILER!!!", 0, nil)
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
