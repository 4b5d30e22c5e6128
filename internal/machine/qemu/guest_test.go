package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
	"holdfast/internal/machine"
	"holdfast/internal/machine/machinetest"
)

// initrd is the same for every guest.
var initrd struct {
	sync.Once
	data []byte
	err  error
}

// guest gives a kernel and an initramfs whose process 1 does what mode says.
func guest(t testing.TB, mode string) *machine.Kernel {
	t.Helper()
	image, folder := machinetest.Kernel(t)
	initrd.Do(func() { initrd.data, initrd.err = makeInitrd(folder) })
	path := filepath.Join(t.TempDir(), "initrd")
	if err := errors.Join(initrd.err, os.WriteFile(path, initrd.data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return &machine.Kernel{Image: image, Initrd: path, Cmdline: "console=ttyS0 panic=-1 quiet cryptomgr.notests no_timer_check test=" + mode}
}

// makeInitrd packs the init and all modules that it may need, numbered in the
// order of loading.
func makeInitrd(folder string) ([]byte, error) {
	tree, err := kmod.Open(os.DirFS(folder))
	if err != nil {
		return nil, err
	}
	modules, err := tree.Resolve("virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "qemu_fw_cfg", "dm_verity")
	if err != nil {
		return nil, err
	}
	files := []cpio.Entry{cpio.Dir("modules", 0o755)}
	for i, m := range modules {
		data, err := os.ReadFile(filepath.Join(folder, m.Path))
		if err != nil {
			return nil, err
		}
		files = append(files, cpio.File(fmt.Sprintf("modules/%02d.ko", i), 0o644, int64(len(data)), bytes.NewReader(data)))
	}
	init, err := machinetest.Program("./testdata/init")
	if err != nil {
		return nil, err
	}
	return machinetest.Initrd(init, files...)
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
