package gpt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tell makes the kernel's partitions of a disk those of the table. Where no
// partition is in use the kernel reads the table itself, which also gives it
// names and GUIDs; what it does not know then, or could not read, is told to
// it one by one. Partitions that stay as they are stay undisturbed.
func (t *Table) Tell(disk *os.File, inUse bool) error {
	if !inUse {
		_ = unix.IoctlSetInt(int(disk.Fd()), unix.BLKRRPART, 0) // a kernel may read no tables
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(disk.Fd()), &stat); err != nil {
		return err
	}
	sys := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	known, err := kernelPartitions(sys)
	if err != nil {
		return err
	}
	for _, step := range difference(known, t.Partitions) {
		if err := step.run(disk); err != nil {
			return fmt.Errorf("partition %d: tell the kernel: %w", step.number, err)
		}
	}
	return nil
}

// kernelPartitions reads what the kernel believes, from a disk's sysfs folder.
func kernelPartitions(sys string) ([]Entry, error) {
	folders, err := filepath.Glob(filepath.Join(sys, "*", "partition"))
	if err != nil {
		return nil, err
	}
	var list []Entry
	for _, f := range folders {
		var numbers [3]int64
		for i, name := range []string{"partition", "start", "size"} {
			raw, err := os.ReadFile(filepath.Join(filepath.Dir(f), name))
			if err != nil {
				return nil, err
			}
			if numbers[i], err = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err != nil {
				return nil, err
			}
		}
		list = append(list, Entry{Number: int(numbers[0]), Start: numbers[1] * 512, Size: numbers[2] * 512})
	}
	return list, nil
}

type kernelStep struct {
	op            int32
	number        int
	start, length int64
}

// difference deletes and shrinks before it grows and adds, so that no two
// partitions ever overlap.
func difference(known, want []Entry) []kernelStep {
	var before, after []kernelStep
	for _, k := range known {
		i := slices.IndexFunc(want, func(e Entry) bool { return e.Number == k.Number && e.Start == k.Start })
		switch {
		case i < 0:
			before = append(before, kernelStep{unix.BLKPG_DEL_PARTITION, k.Number, k.Start, k.Size})
		case want[i].Size < k.Size:
			before = append(before, kernelStep{unix.BLKPG_RESIZE_PARTITION, k.Number, k.Start, want[i].Size})
		case want[i].Size > k.Size:
			after = append(after, kernelStep{unix.BLKPG_RESIZE_PARTITION, k.Number, k.Start, want[i].Size})
		}
	}
	for _, e := range want {
		if !slices.ContainsFunc(known, func(k Entry) bool { return e.Number == k.Number && e.Start == k.Start }) {
			after = append(after, kernelStep{unix.BLKPG_ADD_PARTITION, e.Number, e.Start, e.Size})
		}
	}
	return append(before, after...)
}

func (s kernelStep) run(disk *os.File) error {
	p := &unix.BlkpgPartition{Start: s.start, Length: s.length, Pno: int32(s.number)}
	arg := unix.BlkpgIoctlArg{Op: s.op, Datalen: int32(unsafe.Sizeof(*p)), Data: (*byte)(unsafe.Pointer(p))}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno == 0 || s.op == unix.BLKPG_DEL_PARTITION && errors.Is(errno, unix.ENXIO) {
		return nil
	}
	return errno
}
