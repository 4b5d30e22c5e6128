// Package devmapper tells the kernel's device mapper to make a block device
// out of others.
//
// It speaks the ioctl interface of /dev/mapper/control itself (Linux,
// include/uapi/linux/dm-ioctl.h), so that no library and no helper program is
// needed in process 1.
package devmapper

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const control = "/dev/mapper/control"

// Sector is the unit of every target's start and length, in bytes.
const Sector = 512

// A Target maps a range of the new device. Params are the target's own words
// (Linux, Documentation/admin-guide/device-mapper).
type Target struct {
	Start, Length uint64 // sectors
	Type          string // at most 15 bytes
	Params        string
}

// Create makes a read-only device of the given name and targets and returns
// its path. When it fails, no device is left.
func Create(name string, targets ...Target) (string, error) {
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	dev, err := call(f, devCreate, request{name: name})
	if err != nil {
		return "", fmt.Errorf("create device %s: %w", name, err)
	}
	if err := activate(f, name, targets); err != nil {
		_, _ = call(f, devRemove, request{name: name})
		return "", err
	}
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(dev)), nil
}

func activate(f *os.File, name string, targets []Target) error {
	if _, err := call(f, tableLoad, request{name: name, flags: readOnly, targets: targets}); err != nil {
		return fmt.Errorf("load table of %s: %w", name, err)
	}
	if _, err := call(f, devSuspend, request{name: name}); err != nil {
		return fmt.Errorf("resume %s: %w", name, err)
	}
	return nil
}

// The commands, as _IOWR(0xfd, n, struct dm_ioctl). Resuming is suspending
// without the suspend flag.
const (
	devCreate  = 3
	devRemove  = 4
	devSuspend = 6
	tableLoad  = 9

	ioctlBase = 3<<30 | headerSize<<16 | 0xfd<<8
	readOnly  = 1 << 0
)

// call sends one request and returns the device number in the answer.
func call(f *os.File, command uintptr, r request) (uint64, error) {
	b, err := r.marshal()
	if err != nil {
		return 0, err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlBase|command, uintptr(unsafe.Pointer(&b[0])))
	if errno != 0 {
		return 0, errno
	}
	return binary.NativeEndian.Uint64(b[offDevice:]), nil
}
