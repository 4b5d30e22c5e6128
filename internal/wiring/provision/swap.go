package provision

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/disks"
)

// swaps turns on the swap areas of the config.
func (a *application) swaps() error {
	for i, f := range a.config.Storage.Filesystems {
		if !isSwap(f) {
			continue
		}
		dev, err := disks.Resolve(f.Device)
		if err == nil {
			err = swapOn(dev)
		}
		if err != nil {
			return ignition.At(fmt.Errorf("swap on %s: %w", f.Device, err), "$.storage.filesystems[%d]", i)
		}
	}
	return nil
}

func swapOn(device string) error {
	path, err := unix.BytePtrFromString(device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(path)), 0, 0)
	runtime.KeepAlive(path)
	if errno != 0 {
		return errno
	}
	return nil
}
