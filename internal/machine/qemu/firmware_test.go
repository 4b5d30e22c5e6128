package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/machine"
)

// unsigned is an EFI program that Debian's systemd-boot-efi ships unsigned.
const unsigned = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"

// unsignedDisk is a FAT disk whose boot program nobody signed.
func unsignedDisk(t testing.TB) string {
	t.Helper()
	if _, err := os.Stat(unsigned); err != nil {
		t.Skipf("needs the Debian package systemd-boot-efi: %v", err)
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := errors2(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 8<<20)); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"mformat -i DISK -v TEST ::", "mmd -i DISK ::/EFI ::/EFI/BOOT", "mcopy -i DISK " + unsigned + " ::/EFI/BOOT/BOOTX64.EFI"} {
		words := strings.Fields(strings.ReplaceAll(line, "DISK", disk))
		out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Skipf("needs the Debian package mtools: %s: %v\n%s", line, err, out)
		}
	}
	return disk
}

func errors2(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// microsoftVars holds Microsoft's keys, so that Secure Boot is on.
func microsoftVars(t testing.TB) *machine.Firmware {
	f := needFirmware(t)
	f.Vars = strings.Replace(f.Vars, ".fd", ".ms.fd", 1)
	if _, err := os.Stat(f.Vars); err != nil {
		t.Skipf("needs a variable store with Microsoft's keys, as the Debian package ovmf has: %v", err)
	}
	return f
}

func TestUnsignedImageIsRefusedByTheFirmware(t *testing.T) {
	m := start(t, machine.Spec{Firmware: microsoftVars(t), Disk: unsignedDisk(t)})
	o := wait(t, m)
	t.Logf("after %s: %s", time.Since(m.Started()), o)
	if o.Reason != machine.FirmwareRefused {
		t.Errorf("got %s (%s), want %s", o.Reason, o, machine.FirmwareRefused)
	}
}

func TestEmptyDiskIsUnbootable(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.img")
	if err := errors2(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, 1<<20)); err != nil {
		t.Fatal(err)
	}
	m := start(t, machine.Spec{Firmware: needFirmware(t), Disk: disk})
	o := wait(t, m)
	t.Logf("after %s: %s", time.Since(m.Started()), o)
	if o.Reason != machine.Unbootable {
		t.Errorf("got %s (%s), want %s", o.Reason, o, machine.Unbootable)
	}
}
