package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"holdfast/internal/machine"
)

// A MissingError says that something is not installed.
type MissingError struct {
	What    string   // "QEMU"
	Package string   // the Debian package that has it
	Looked  []string // where it was looked for
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s is not installed (looked for %s): install the Debian package %s",
		e.What, strings.Join(e.Looked, ", "), e.Package)
}

const binaryName = "qemu-system-x86_64"

// findBinary gives the path of QEMU: the given one, or that on the search path.
func findBinary(given string) (string, error) {
	name := given
	if name == "" {
		name = binaryName
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingError{What: "QEMU", Package: "qemu-system-x86", Looked: []string{name}}
	}
	return filepath.Abs(path)
}

// firmwares are the builds with Secure Boot and system management mode, raw
// and of 4 MiB where there is a choice, and where distributions put them.
var firmwares = []struct{ code, vars string }{
	{"usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"},                  // Debian, Ubuntu
	{"usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "usr/share/edk2/x64/OVMF_VARS.4m.fd"},          // Arch
	{"usr/share/edk2-ovmf/x64/OVMF_CODE.secboot.fd", "usr/share/edk2-ovmf/x64/OVMF_VARS.fd"},      // Arch, before 2024
	{"usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "usr/share/edk2/ovmf/OVMF_VARS.fd"},              // Fedora, RHEL
	{"usr/share/qemu/ovmf-x86_64-smm-code.bin", "usr/share/qemu/ovmf-x86_64-smm-vars.bin"},        // openSUSE
	{"usr/share/edk2-ovmf/OVMF_CODE.secboot.fd", "usr/share/edk2-ovmf/OVMF_VARS.fd"},              // Gentoo
	{"run/libvirt/nix-ovmf/edk2-x86_64-secure-code.fd", "run/libvirt/nix-ovmf/edk2-i386-vars.fd"}, // NixOS
}

// FindFirmware gives the Secure Boot firmware of this host, with a variable
// store that holds no keys.
func FindFirmware() (machine.Firmware, error) { return findFirmware("/") }

func findFirmware(root string) (machine.Firmware, error) {
	missing := &MissingError{What: "UEFI firmware with Secure Boot", Package: "ovmf"}
	for _, f := range firmwares {
		code, vars := filepath.Join(root, f.code), filepath.Join(root, f.vars)
		if isFile(code) && isFile(vars) {
			return machine.Firmware{Code: code, Vars: vars, SecureBoot: true}, nil
		}
		missing.Looked = append(missing.Looked, code)
	}
	return machine.Firmware{}, missing
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
