// Package volume finds the volumes by which machines are handed a config, and
// reads files of them.
//
// FAT and ISO 9660 are read by own code, without mounting; others are mounted
// for as long as a file is open, read-only and without devices, programs and
// links.
package volume

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/iso9660"
	"holdfast/internal/ignition"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/probe"
	"holdfast/internal/input"
)

// A Volume is what lies on a block device, or in an image of one.
type Volume struct {
	Device string // its path
	Type   string // as blkid calls it; empty when nothing is on it
	Label  string
	Serial string // of the disk, as virtio has it
	ESP    bool   // an EFI system partition, by the disk's table
	Disc   bool   // in a CD-ROM drive
}

const blockDir = "/sys/class/block"

// All are the volumes that the kernel has now; what cannot be read is left out.
func All() ([]Volume, error) {
	devices, err := os.ReadDir(blockDir)
	if err != nil {
		return nil, err
	}
	var list []Volume
	for _, d := range devices {
		if strings.HasPrefix(d.Name(), "fd") { // a floppy drive answers after seconds
			continue
		}
		v, err := Probe(filepath.Join("/dev", strings.ReplaceAll(d.Name(), "!", "/")))
		if err != nil {
			continue
		}
		v.ESP = disks.IsESP(v.Device)
		serial, _ := os.ReadFile(filepath.Join(blockDir, d.Name(), "serial")) // disks of few drivers have one
		v.Serial = strings.TrimSpace(string(serial))
		v.Disc = hasDisc(v.Device)
		list = append(list, v)
	}
	return list, nil
}

// Probe looks at one device, or at an image.
func Probe(path string) (Volume, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Volume{}, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil && size == 0 {
		err = fmt.Errorf("%s: nothing is in it", path)
	}
	if err != nil {
		return Volume{}, err
	}
	found, err := probe.One(f, size)
	if errors.Is(err, probe.ErrAmbivalent) {
		err = nil
	}
	return Volume{Device: path, Type: found.Type, Label: found.Label}, err
}

// The drive's state: linux/cdrom.h.
const (
	driveStatus = 0x5326
	statusDisc  = 4
)

func hasDisc(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	status, err := unix.IoctlRetInt(int(f.Fd()), driveStatus)
	return err == nil && status == statusDisc
}

// ReadFile reads a file of at most limit bytes, or fs.ErrNotExist.
func (v Volume) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := input.ReadAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", name, v.Device, err)
	}
	return raw, nil
}

// Open opens a file by its path from the volume's root, or fs.ErrNotExist.
func (v Volume) Open(name string) (io.ReadCloser, error) {
	f, err := v.open(strings.TrimPrefix(name, "/"))
	if err != nil {
		return nil, fmt.Errorf("volume %s: %w", v.Device, err)
	}
	return f, nil
}

// opened is a file, and what must be closed with it.
type opened struct {
	io.Reader
	close func() error
}

func (o opened) Close() error { return o.close() }

func (v Volume) open(name string) (io.ReadCloser, error) {
	if data, ok := mountable[v.Type]; ok {
		return v.mounted(name, data)
	}
	f, err := os.Open(v.Device)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch v.Type {
	case "vfat":
		r, _, err = fat.Open(f, name)
	case "iso9660":
		r, err = iso9660.Open(f, name)
	default:
		err = fmt.Errorf("has %q, want vfat, iso9660, udf, exfat or ext4", v.Type)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return opened{r, f.Close}, nil
}

// mountable are the kinds that the kernel reads for us, with options by which
// it writes nothing.
var mountable = map[string]string{"udf": "", "exfat": "", "ext4": "noload"}

func (v Volume) mounted(name, data string) (io.ReadCloser, error) {
	dir, err := os.MkdirTemp("/run", "ignition-volume")
	if err != nil {
		return nil, err
	}
	const flags = unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NOSYMFOLLOW
	if err := unix.Mount(v.Device, dir, v.Type, flags, data); err != nil {
		return nil, errors.Join(fmt.Errorf("mount as %s: %w", v.Type, err), os.Remove(dir))
	}
	release := func() error { return errors.Join(unix.Unmount(dir, 0), os.Remove(dir)) }
	f, err := input.Open(filepath.Join(dir, filepath.Clean("/"+name)))
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return opened{f, func() error { return errors.Join(f.Close(), release()) }}, nil
}

// Opener opens paths below where a config came from. No link leads out of it.
func Opener(o ignition.Origin) func(path string) (io.ReadCloser, error) {
	return func(path string) (io.ReadCloser, error) {
		if o.Volume != "" {
			v, err := Probe(o.Volume)
			if err != nil {
				return nil, err
			}
			return v.Open(path)
		}
		f, err := inFolder(o.Folder, path)
		if err != nil {
			return nil, fmt.Errorf("folder %s, which the config came from: %w", o.Folder, err)
		}
		return f, nil
	}
}

func inFolder(folder, path string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(strings.TrimPrefix(path, "/"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: errors.New("want an ordinary file")}, f.Close())
	}
	return f, nil
}
