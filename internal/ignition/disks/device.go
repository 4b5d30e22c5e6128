package disks

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"holdfast/internal/ignition/probe"
)

// A device is an open disk or partition, or an image of one.
type device struct {
	*os.File
	size, sector int64
	block        bool   // not an image
	number       uint64 // of a block device
}

func openDevice(path string, flags int) (*device, error) {
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, err
	}
	d := &device{File: f, sector: 512}
	if d.size, err = f.Seek(0, io.SeekEnd); err == nil {
		err = d.geometry()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

func (d *device) geometry() error {
	info, err := d.Stat()
	if err != nil || info.Mode()&os.ModeDevice == 0 {
		return err
	}
	if d.block = true; d.size == 0 {
		return errors.New("a device of no size: nothing is behind it")
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &stat); err != nil {
		return err
	}
	d.number = stat.Rdev
	sector, err := unix.IoctlGetInt(int(d.Fd()), unix.BLKSSZGET)
	d.sector = int64(sector)
	return err
}

// sys is the folder that tells of a block device.
func (d *device) sys() string {
	return fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(d.number), unix.Minor(d.number))
}

// lock keeps udev from looking while a disk is changed, as
// systemd.io/BLOCK_DEVICE_LOCKING asks; closing the device ends it.
func (d *device) lock() error {
	if !d.block {
		return nil
	}
	return unix.Flock(int(d.Fd()), unix.LOCK_EX)
}

// probeDevice tells what a device has; ambivalent is an error beside the
// first of several signatures.
func probeDevice(path string) (probe.Found, error) {
	d, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		return probe.Found{}, err
	}
	defer d.Close()
	return probe.One(d, d.size)
}

// wipeDevice makes signatures unreadable; it fails where the kernel uses the
// device.
func wipeDevice(path string) error {
	d, err := openDevice(path, os.O_RDWR|unix.O_EXCL)
	if err != nil {
		return err
	}
	defer d.Close()
	return probe.Wipe(d, d.size)
}
