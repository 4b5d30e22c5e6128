package attack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/internal/boot/efivar"
	"holdfast/internal/boot/fat"
	"holdfast/internal/boot/uki"
	"holdfast/internal/image"
	"holdfast/internal/keys"
	"holdfast/internal/machine/qemu"
)

// writable is the machine's disk, copied so that it can be changed.
func (t *target) writable() (*os.File, error) {
	if t.disk != nil {
		return t.disk, nil
	}
	from, err := os.Open(t.Disk)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if t.disk, err = os.Create(filepath.Join(t.dir, "disk.img")); err != nil {
		return nil, err
	}
	t.Disk = t.disk.Name()
	size, err := from.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return t.disk, errors.Join(t.disk.Truncate(size), copySparsely(t.disk, io.NewSectionReader(from, 0, size), 0))
}

func (t *target) closeDisk() error {
	if t.disk == nil {
		return nil
	}
	return t.disk.Close()
}

// copySparsely writes what is not zero, from offset on, into a file that is.
func copySparsely(to io.WriterAt, from io.Reader, offset int64) error {
	block, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(from, block)
		if n > 0 && !bytes.Equal(block[:n], zero[:n]) {
			if _, err := to.WriteAt(block[:n], offset); err != nil {
				return err
			}
		}
		offset += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *rig) partition(name string) (image.Partition, error) {
	for _, p := range r.guest.Disk.Partitions {
		if p.Name == name {
			return p, nil
		}
	}
	return image.Partition{}, fmt.Errorf("machine image %s has no partition %s", r.guest.Name, name)
}

// flip inverts bytes of a partition; with no name, of the disk.
func (t *target) flip(partition string, offsets ...int64) error {
	return t.edit(partition, func(b []byte) error {
		for _, at := range offsets {
			b[at] ^= 0xff
		}
		return nil
	})
}

// edit changes the content of a partition; with no name, of the whole disk.
func (t *target) edit(partition string, change func([]byte) error) error {
	f, err := t.writable()
	if err != nil {
		return err
	}
	start, size := int64(0), t.guest.Disk.Size
	if partition != "" {
		p, err := t.partition(partition)
		if err != nil {
			return err
		}
		start, size = p.Start, p.Size
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, start); err != nil {
		return err
	}
	before := bytes.Clone(b)
	if err := change(b); err != nil {
		return err
	}
	if bytes.Equal(b, before) {
		return errors.New("the attack changed nothing")
	}
	_, err = f.WriteAt(b, start)
	return err
}

// uki is a copy of the image's kernel image.
func (r *rig) uki() ([]byte, error) { return os.ReadFile(r.guest.UKIPath()) }

// putUKI makes the EFI partition anew, with another kernel image and more
// files.
func (t *target) putUKI(uki []byte, more ...fat.File) error {
	f, err := t.writable()
	if err != nil {
		return err
	}
	p, err := t.partition("esp")
	if err != nil {
		return err
	}
	files := append([]fat.File{{Path: t.guest.BootPath(), Size: int64(len(uki)), Content: bytes.NewReader(uki)}}, more...)
	volume := fat.Volume{Label: "ESP", Time: t.guest.Date, Size: p.Size, Files: files}
	return fat.Write(io.NewOffsetWriter(f, p.Start), volume)
}

// signed signs a kernel image anew with a key that firmware trusts.
func (r *rig) signed(image []byte) ([]byte, error) {
	return resign(image, r.ring.Pair(keys.DB))
}

func resign(image []byte, by keys.Pair) ([]byte, error) {
	bare, err := uki.Unsigned(image)
	if err != nil {
		return nil, err
	}
	return uki.Sign(bare, by.Certificate, by.Key)
}

// section is part of image, and writing to it changes image.
func section(image []byte, name string) ([]byte, error) {
	sections, err := uki.Sections(image)
	for _, s := range sections {
		if s.Name == name {
			return s.Data, nil
		}
	}
	return nil, errors.Join(err, fmt.Errorf("the kernel image has no section %s", name))
}

// variables writes the firmware's variables anew, as change would have them.
func (t *target) variables(change func([]efivar.Variable) []efivar.Variable) error {
	raw, err := os.ReadFile(t.Firmware.Vars)
	if err != nil {
		return err
	}
	have, err := efivar.Read(raw)
	if err != nil {
		return err
	}
	empty, err := qemu.FindFirmware()
	if err != nil {
		return err
	}
	blank, err := os.ReadFile(empty.Vars)
	if err != nil {
		return err
	}
	volume, err := efivar.Append(blank, change(have)...)
	if err != nil {
		return err
	}
	firmware := *t.Firmware
	firmware.Vars = filepath.Join(t.dir, "vars.fd")
	t.Firmware = &firmware
	return os.WriteFile(firmware.Vars, volume, 0o600)
}
