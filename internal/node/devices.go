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
	"time"

	"golang.org/x/sys/unix"
)

const sysDir = "/sys"

// devices are those of a guest: what it had when it found its root, but for disks
// that are not the root's. Nothing here would mount what a host gives it beside,
// or later; but of what the kernel does not know, nothing can be used.
type devices struct {
	sys    string // where sysfs is mounted
	disk   string // name of the root's
	refuse func(reason string)
	had    map[string]bool // of PCI, when it was closed
}

// close keeps drivers from what comes, and removes the controllers of other disks.
// It listens from before that on, and returns what to hear.
func (d *devices) close() (io.ReadCloser, error) {
	news, err := listenDevices()
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel's news of devices: %w", err)
	}
	err = errors.Join(d.noMoreDrivers(), d.sweep())
	if err == nil {
		d.had = map[string]bool{}
		err = d.each(func(pci string) error { d.had[pci] = true; return nil })
	}
	if err != nil {
		return nil, errors.Join(err, news.Close())
	}
	return news, nil
}

// noMoreDrivers holds for all buses but PCI, which asks nobody before it gives a
// driver to what is plugged in (Linux 6.1, pci_bus_add_device); watch removes that.
func (d devices) noMoreDrivers() error {
	switches, err := filepath.Glob(filepath.Join(d.sys, "bus/*/drivers_autoprobe"))
	if err == nil && len(switches) == 0 {
		err = errors.New("sysfs has no bus that gives drivers")
	}
	for _, path := range switches {
		err = errors.Join(err, writeExisting(path, "0"))
	}
	return err
}

// sweep removes controllers of storage that the root is not behind. A disk that is
// there all the same is an error.
func (d devices) sweep() error {
	own, err := filepath.EvalSymlinks(filepath.Join(d.sys, "class/block", d.disk, "device"))
	if err != nil {
		return fmt.Errorf("disk of the root: %w", err)
	}
	if strings.HasPrefix(own, filepath.Join(d.sys, "devices/virtual")+"/") {
		return fmt.Errorf("disk of the root, %s: it has several controllers, want one", d.disk)
	}
	err = d.each(func(pci string) error {
		if strings.HasPrefix(own+"/", pci+"/") || !isStorage(pci) {
			return nil
		}
		_, absent := os.Stat(filepath.Join(pci, "driver"))
		if err := d.remove(pci); err != nil || absent != nil { // what nothing drives is the platform's own
			return err
		}
		d.refuse(fmt.Sprintf("device %.80q has a disk that is not this machine's: it is removed", filepath.Base(pci)))
		return nil
	})
	if err != nil {
		return err
	}
	return d.alone()
}

// each visits the devices of PCI.
func (d devices) each(visit func(pci string) error) error {
	all, err := filepath.Glob(filepath.Join(d.sys, "bus/pci/devices/*"))
	for _, name := range all {
		if at, e := filepath.EvalSymlinks(name); e == nil { // or gone by now
			err = errors.Join(err, visit(at))
		}
	}
	return err
}

func isStorage(pci string) bool {
	class, _ := os.ReadFile(filepath.Join(pci, "class"))
	return bytes.HasPrefix(class, []byte("0x01")) // PCI Code and ID Assignment Specification, 1.2
}

// removing is how long that may take: a device of the host's may never answer.
const removing = 20 * time.Second

func (d devices) remove(pci string) error {
	done := make(chan error, 1)
	go func() { done <- writeExisting(filepath.Join(pci, "remove"), "1") }()
	select {
	case err := <-done:
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) { // gone with the one that it was behind
			return nil
		}
		return err
	case <-time.After(removing):
		return fmt.Errorf("device %s is not removed within %v", filepath.Base(pci), removing)
	}
}

// alone is an error when there is a disk that is not the root's, or when that is
// gone. What the kernel makes by itself, and partitions, have no device.
func (d devices) alone() error {
	disks, err := os.ReadDir(filepath.Join(d.sys, "class/block"))
	found := false
	for _, disk := range disks {
		name := disk.Name()
		if found = found || name == d.disk; name == d.disk {
			continue
		}
		if _, e := os.Stat(filepath.Join(d.sys, "class/block", name, "device")); e == nil {
			err = errors.Join(err, fmt.Errorf("disk %s is not this machine's, and cannot be removed", name))
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("disk %s, the root's, is gone", d.disk)
	}
	return err
}

// watch removes what else is plugged in, until there is no more news. An error is
// that something stays, or may.
func (d devices) watch(news io.Reader) error {
	raw := make([]byte, 64<<10)
	for {
		n, err := news.Read(raw)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOBUFS): // there was more than the kernel keeps
			err = errors.Join(d.each(d.late), d.sweep())
		case err == nil:
			err = d.hear(parseNews(raw[:n]))
		}
		if err != nil {
			return err
		}
	}
}

func (d devices) hear(news map[string]string) error {
	if news["ACTION"] != "add" {
		return nil
	}
	switch news["SUBSYSTEM"] {
	case "pci":
		return d.late(filepath.Join(d.sys, filepath.Join("/", news["DEVPATH"])))
	case "block":
		return d.sweep()
	}
	return nil
}

// late removes a device of PCI that was not there before.
func (d devices) late(pci string) error {
	if d.had[pci] {
		return nil
	}
	if err := d.remove(pci); err != nil {
		return err
	}
	d.refuse(fmt.Sprintf("device %.80q came too late: it is removed", filepath.Base(pci)))
	return nil
}

// parseNews reads a message of the kernel's: a summary, then NAME=VALUE, each
// ended by a zero (lib/kobject_uevent.c).
func parseNews(raw []byte) map[string]string {
	news := map[string]string{}
	for word := range bytes.SplitSeq(raw, []byte{0}) {
		if name, value, ok := strings.Cut(string(word), "="); ok {
			news[name] = value
		}
	}
	return news
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
	return os.NewFile(uintptr(fd), "news of devices"), nil
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

// closeDevices is for guests; the disks of other machines are their Ignition
// config's. What cannot be kept out ends the machine.
func (m *machine) closeDevices(ctx context.Context) error {
	d := devices{sys: sysDir, disk: m.disk, refuse: m.control.note}
	news, err := d.close()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = news.Close() })
	m.background.Go(func() {
		if err := d.watch(news); err != nil {
			m.end(func() { m.refused(refusal(&Refusal{"root", err})) })
		}
	})
	return nil
}
