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

// devices are those of a guest: what it had when it found its root, but for disks
// that are not the root's. Nothing here would mount what a host gives it beside,
// or later; but of what the kernel does not know, nothing can be used.
type devices struct {
	sys    string // where sysfs is mounted
	disk   string // name of the root's
	refuse func(reason string)
}

// close keeps drivers from what comes, and removes the controllers of other disks.
// It listens from before that on, and returns what to hear.
func (d devices) close() (io.ReadCloser, error) {
	news, err := listenDevices()
	if err != nil {
		return nil, fmt.Errorf("listen to the kernel's news of devices: %w", err)
	}
	if err := errors.Join(d.noMoreDrivers(), d.sweep()); err != nil {
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
	controllers, err := filepath.Glob(filepath.Join(d.sys, "bus/pci/devices/*"))
	if err != nil {
		return err
	}
	for _, c := range controllers {
		at, err := filepath.EvalSymlinks(c)
		if err != nil || strings.HasPrefix(own+"/", at+"/") || !isStorage(at) {
			continue // or gone by now
		}
		_, absent := os.Stat(filepath.Join(at, "driver"))
		if err := d.remove(at); err != nil {
			return err
		}
		if absent == nil { // what nothing drives is the platform's own
			d.refuse(fmt.Sprintf("device %.80q has a disk that is not this machine's: it is removed", filepath.Base(at)))
		}
	}
	return d.alone(own)
}

func isStorage(pci string) bool {
	class, _ := os.ReadFile(filepath.Join(pci, "class"))
	return bytes.HasPrefix(class, []byte("0x01")) // PCI Code and ID Assignment Specification, 1.2
}

func (d devices) remove(pci string) error {
	err := writeExisting(filepath.Join(pci, "remove"), "1")
	if errors.Is(err, os.ErrNotExist) { // with the one that it was behind
		return nil
	}
	return err
}

// alone is an error when there is a disk that is not of the root's device. What
// the kernel makes by itself, and partitions, have none.
func (d devices) alone(own string) error {
	disks, err := os.ReadDir(filepath.Join(d.sys, "class/block"))
	for _, disk := range disks {
		at, e := filepath.EvalSymlinks(filepath.Join(d.sys, "class/block", disk.Name(), "device"))
		if e == nil && at != own {
			err = errors.Join(err, fmt.Errorf("disk %s is not this machine's, and cannot be removed", disk.Name()))
		}
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
			err = d.sweep()
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
		if err := d.remove(filepath.Join(d.sys, filepath.Join("/", news["DEVPATH"]))); err != nil {
			return err
		}
		d.refuse(fmt.Sprintf("device %.80q came too late: it is removed", filepath.Base(news["DEVPATH"])))
	case "block":
		return d.sweep()
	}
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
	d := devices{sysDir, m.disk, m.control.note}
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
