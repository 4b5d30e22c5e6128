package kmod_test // machinetest itself reads modules

import (
	"os"
	"slices"
	"testing"

	"holdfast/internal/boot/kmod"
	"holdfast/internal/machine/machinetest"
)

func TestRealKernelResolves(t *testing.T) {
	_, folder := machinetest.Kernel(t)
	got, err := kmod.Open(os.DirFS(folder))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := got.Resolve("virtio_pci", "virtio_blk", "dm_verity", "squashfs", "overlay", "qemu_fw_cfg", "libcrc32c")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, m := range modules {
		order = append(order, m.Name)
	}
	at := func(name string) int { return slices.Index(order, name) }
	for _, pair := range [][2]string{{"virtio", "virtio_pci"}, {"dm_mod", "dm_verity"}, {"reed_solomon", "dm_verity"}} {
		if at(pair[0]) < 0 || at(pair[0]) > at(pair[1]) {
			t.Errorf("%s must come before %s in %s", pair[0], pair[1], order)
		}
	}
}
