package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const sysDir = "/sys"

// devices are those of a machine that runs a workload: what it had when it found
// its root, but for other disks than that. Nothing here would mount what a host
// gives it beside, or later; but what no driver has, nothing can.
type devices struct {
	sys    string // where sysfs is mounted
	disk   string // name of the root's
	refuse func(reason string)
}

// close keeps drivers from what comes, and takes away the disks that are there.
// It listens from before that on, and returns what to hear.
func (d devices) close() (io.ReadCloser, error) {
	events, err := listenDevices()
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel's news of devices: %w", err)
	}
	if err := errors.Join(d.noMoreDrivers(), d.detachDisks()); err != nil {
		return nil, errors.Join(err, events.Close())
	}
	return events, nil
}

func (d devices) noMoreDrivers() error {
	switches, err := filepath.Glob(filepath.Join(d.sys, "bus/*/drivers_autoprobe"))
	if err == nil && len(switches) == 0 {
		err = errors.New("sysfs has no bus")
	}
	for _, path := range switches {
		err = errors.Join(err, writeExisting(path, "0"))
	}
	return err
}

func (d devices) detachDisks() error {
	disks, err := os.ReadDir(filepath.Join(d.sys, "class/block"))
	for _, disk := range disks {
		err = errors.Join(err, d.detach(disk.Name()))
	}
	return err
}

// detach takes the driver from a disk, unless it is the root's, or none.
func (d devices) detach(disk string) error {
	at, err := filepath.EvalSymlinks(filepath.Join(d.sys, "class/block", disk, "device"))
	if disk == d.disk || errors.Is(err, os.ErrNotExist) { // partitions and what the kernel made have no device
		return nil
	}
	for ; err == nil && strings.HasPrefix(at, d.sys+"/devices/"); at = filepath.Dir(at) {
		unbind := filepath.Join(at, "driver/unbind")
		if _, err := os.Stat(unbind); err != nil {
			continue
		}
		if err := writeExisting(unbind, filepath.Base(at)); err != nil {
			return fmt.Errorf("detach disk %s: %w", disk, err)
		}
		d.refuse(fmt.Sprintf("disk %s is not this machine's: it is detached", disk))
		return nil
	}
	return errors.Join(fmt.Errorf("disk %s is not this machine's, and has no driver to take away", disk), err)
}

// watch says what else is plugged in, until the end of events.
func (d devices) watch(events io.Reader) {
	raw := make([]byte, 64<<10)
	for {
		n, err := events.Read(raw)
		switch {
		case errors.Is(err, unix.ENOBUFS): // more than the kernel keeps: they have no drivers, either
			continue
		case err != nil:
			return
		}
		switch e := parseEvent(raw[:n]); {
		case e["ACTION"] != "add":
		case e["SUBSYSTEM"] == "pci" || e["SUBSYSTEM"] == "usb":
			d.refuse(fmt.Sprintf("device %.80q came too late: no driver is given to it", filepath.Base(e["DEVPATH"])))
		case e["SUBSYSTEM"] == "block": // its driver had it just before
			if err := d.detach(filepath.Base(e["DEVPATH"])); err != nil {
				d.refuse(err.Error())
			}
		}
	}
}

// parseEvent reads a message of the kernel's: a summary, then NAME=VALUE, each
// ended by a zero (lib/kobject_uevent.c).
func parseEvent(raw []byte) map[string]string {
	e := map[string]string{}
	for word := range bytes.SplitSeq(raw, []byte{0}) {
		if name, value, ok := strings.Cut(string(word), "="); ok {
			e[name] = value
		}
	}
	return e
}

func listenDevices() (io.ReadCloser, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, err
	}
	const kernel = 1 // group of those whom the kernel tells
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernel}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "uevents"), nil
}

// writeExisting writes to a file of the kernel's.
func writeExisting(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// closeDevices is for machines that a config does not give disks of their own.
func (m *machine) closeDevices(ctx context.Context) error {
	d := devices{sysDir, m.disk, m.control.note}
	events, err := d.close()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = events.Close() })
	m.background.Go(func() { d.watch(events) })
	return nil
}
