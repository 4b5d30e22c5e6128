package qemu

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/internal/boot/fat"
	"holdfast/internal/machine"
)

// unsigned is an EFI program that Debian's systemd-boot-efi ships unsigned.
const unsigned = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"

// unsignedDisk is a FAT disk whose boot program nobody signed.
func unsignedDisk(t testing.TB) string {
	t.Helper()
	program, err := os.ReadFile(unsigned)
	if err != nil {
		t.Skipf("needs the Debian package systemd-boot-efi: %v", err)
	}
	return diskOf(t, func(w io.Writer) error {
		return fat.Write(w, fat.Volume{
			Time: time.Unix(1e9, 0), Size: 8 << 20,
			Files: []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Size: int64(len(program)), Content: bytes.NewReader(program)}},
		})
	})
}

func emptyDisk(t testing.TB) string {
	return diskOf(t, func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err })
}

func needFirmware(t testing.TB) *machine.Firmware {
	t.Helper()
	f, err := FindFirmware()
	if err != nil {
		t.Skipf("needs firmware: %v", err)
	}
	return &f
}

// microsoftKeys is firmware with Microsoft's keys, so that Secure Boot is on.
func microsoftKeys(t testing.TB) *machine.Firmware {
	t.Helper()
	f := needFirmware(t)
	f.Vars = strings.Replace(f.Vars, ".fd", ".ms.fd", 1)
	if _, err := os.Stat(f.Vars); err != nil {
		t.Skipf("needs a variable store with Microsoft's keys, as the Debian package ovmf has: %v", err)
	}
	return f
}

func TestUnsignedImageIsRefusedByTheFirmware(t *testing.T) {
	t.Parallel()
	m := start(t, machine.Spec{Firmware: microsoftKeys(t), Disk: unsignedDisk(t)})
	checkEnd(t, m, machine.FirmwareRefused)
}

func TestEmptyDiskIsUnbootable(t *testing.T) {
	t.Parallel()
	m := start(t, machine.Spec{Firmware: needFirmware(t), Disk: emptyDisk(t)})
	checkEnd(t, m, machine.Unbootable)
}
