package gpt

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// loop attaches a file with a sector size, as root.
func loop(t *testing.T, file string, sector int64) *os.File {
	t.Helper()
	out, err := exec.Command("losetup", "-f", "--show", "--sector-size", fmt.Sprint(sector), file).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and loop devices, as in a virtual machine: %s", out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		_ = exec.Command("partx", "-d", dev).Run()
		_ = exec.Command("losetup", "-d", dev).Run()
	})
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// edited is a table after some edits by chance, of which those that cannot be
// are left out.
func edited(r *rand.Rand, table *Table) *Table {
	for range 1 + r.IntN(9) {
		next := table.Clone()
		if randomStep(r, next).ours(next) == nil {
			table = next
		}
	}
	return table
}

// Whatever edits were made, sgdisk finds no problem in the table that was
// written, libblkid reads the same partitions, and the kernel takes them all.
func TestEveryTableIsTakenBySgdiskLibblkidAndTheKernel(t *testing.T) {
	if _, err := exec.LookPath("partx"); err != nil {
		t.Skip("needs partx: it is in every Debian")
	}
	for seed := range uint64(24) {
		r := rand.New(rand.NewPCG(seed, 8))
		sector := []int64{512, 512, 4096}[seed%3]
		size := (int64(48<<20) + int64(r.IntN(4096))*4096) / sector * sector
		disk := loop(t, blank(t, size).Name(), sector)
		table, err := New(size, sector, newID(r))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			table = edited(r, table)
			if err := table.Save(disk); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := table.Tell(disk, seed%2 == 0); err != nil {
				t.Fatalf("seed %d: %+v: %v", seed, table.Partitions, err)
			}
			agree(t, seed, disk.Name(), table)
		}
	}
}

func agree(t *testing.T, seed uint64, dev string, table *Table) {
	t.Helper()
	var want []string
	for _, e := range table.Partitions {
		want = append(want, fmt.Sprint(e.Number, " ", e.Start/512, " ", e.Size/512))
	}
	kernel, err := kernelPartitions(filepath.Join("/sys/block", filepath.Base(dev)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range kernel {
		got = append(got, fmt.Sprint(e.Number, " ", e.Start/512, " ", e.Size/512))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("seed %d: the kernel has %q, the table %q", seed, got, want)
	}
	if out, err := sgdisk(t, "-v", dev); err != nil || !strings.Contains(out, "No problems found") {
		t.Errorf("seed %d: sgdisk -v: %v: %s", seed, err, out)
	}
	out, err := exec.Command("partx", "--show", "-g", "-o", "NR,START,SECTORS", "-t", "gpt", dev).Output()
	if len(want) == 0 {
		return // partx calls that a failure
	}
	var read []string
	for line := range strings.Lines(string(out)) {
		read = append(read, strings.Join(strings.Fields(line), " "))
	}
	slices.Sort(read)
	if err != nil || !slices.Equal(read, want) {
		t.Errorf("seed %d: libblkid reads %q, the table has %q: %v", seed, read, want, err)
	}
}
