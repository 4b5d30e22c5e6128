package qemu

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/machine"
)

// The descriptors that the QEMU process inherits, in the order of
// exec.Cmd.ExtraFiles. Each is one end of a socket pair.
const (
	fdConsole = 3 + iota
	fdControl
	fdStdio
	fdMonitor
	fdTPM // only with a TPM; a tap comes behind
)

func tapFD(s machine.Spec) int {
	if s.TPM == nil {
		return fdTPM
	}
	return fdTPM + 1
}

// Files in a machine's folder.
const (
	VarsFile     = "vars.fd"  // its UEFI variables
	InitDataFile = "initdata" // the document it was given
	LinkFile     = "link"     // its place on its wire
	LogFile      = "qemu.log" // what QEMU complained of
	lockFile     = "lock"
)

// arguments gives QEMU's command line for a complete spec. Accel is decided.
func arguments(s machine.Spec, accel machine.Accel) []string {
	args := []string{
		"-name", escape(s.Name), "-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-m", strconv.Itoa(s.Memory), "-smp", strconv.Itoa(processors(s, accel)),
		"-chardev", socket("console", fdConsole), "-serial", "chardev:console",
		"-chardev", socket("monitor", fdMonitor), "-mon", "chardev=monitor,mode=control",
		"-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng",
	}
	args = append(args, accelArgs(accel)...)
	args = append(args, bootArgs(s)...)
	args = append(args, serialArgs()...)
	args = append(args, netArgs(s)...)
	if s.Disk != "" {
		args = append(args, "-blockdev", fileNode("disk", s.Disk, true), "-device", diskDevice(s))
	}
	for i, path := range s.Disks {
		id := fmt.Sprintf("disk%d", i+1)
		args = append(args, "-blockdev", fileNode(id, path, false), "-device", "virtio-blk-pci,drive="+id+",serial="+id)
	}
	if s.TPM != nil {
		args = append(args, "-chardev", socket("tpm", fdTPM), "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm")
	}
	if s.InitData != nil {
		args = append(args, "-fw_cfg", "name="+api.InitDataFile+",file="+escape(filepath.Join(s.Folder, InitDataFile)))
	}
	return append(args, s.Extra...)
}

// processors are one when they are emulated: each that is added makes the
// firmware slower, and with two Linux was once seen to lock up.
func processors(s machine.Spec, accel machine.Accel) int {
	switch {
	case s.CPUs > 0:
		return s.CPUs
	case accel == machine.AccelKVM:
		return 2
	}
	return 1
}

// accelArgs say how instructions are executed. Emulated carry-less
// multiplication is so slow that AES-GCM runs at a fifth of ChaCha20; without
// it, TLS in the machine chooses the latter.
func accelArgs(accel machine.Accel) []string {
	if accel == machine.AccelKVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max,pclmulqdq=off"}
}

// bootArgs say how the machine starts. Should QEMU crash, the machine's memory,
// where the workload lies decrypted, stays out of its core file. With Secure
// Boot, only code in system management mode may write the variables' flash.
func bootArgs(s machine.Spec) []string {
	if k := s.Kernel; k != nil {
		args := []string{"-machine", "q35,dump-guest-core=off", "-kernel", k.Image, "-append", k.Cmdline}
		if k.Initrd != "" {
			args = append(args, "-initrd", k.Initrd)
		}
		return args
	}
	smm := "off"
	if s.Firmware.SecureBoot {
		smm = "on"
	}
	return []string{
		"-machine", "q35,dump-guest-core=off,smm=" + smm + ",pflash0=code,pflash1=vars",
		"-global", "driver=cfi.pflash01,property=secure,value=" + smm,
		"-global", "ICH9-LPC.disable_s3=1",
		"-boot", "menu=off,strict=on",
		"-blockdev", fileNode("code", s.Firmware.Code, true),
		"-blockdev", fileNode("vars", filepath.Join(s.Folder, VarsFile), false),
	}
}

// diskDevice is the disk, the only one to boot where there is firmware. A kernel
// that is handed over has index 0.
func diskDevice(s machine.Spec) string {
	if s.Kernel != nil {
		return "virtio-blk-pci,drive=disk"
	}
	return "virtio-blk-pci,drive=disk,bootindex=1"
}

func serialArgs() []string {
	return []string{
		"-device", "virtio-serial-pci",
		"-chardev", socket("control", fdControl), "-device", "virtserialport,chardev=control,name=" + api.ControlPort,
		"-chardev", socket("stdio", fdStdio), "-device", "virtserialport,chardev=stdio,name=" + api.StdioPort,
	}
}

func netArgs(s machine.Spec) []string {
	if s.Wire != nil {
		return []string{
			"-netdev", fmt.Sprintf("tap,id=net,fd=%d", tapFD(s)), "-device", "virtio-net-pci,netdev=net,romfile=,mac=" + s.Wire.MAC.String(),
			"-fw_cfg", "name=" + api.LinkFile + ",file=" + escape(filepath.Join(s.Folder, LinkFile)),
		}
	}
	var user strings.Builder
	user.WriteString("user,id=net,ipv6=off")
	for _, p := range s.Ports {
		fmt.Fprintf(&user, ",hostfwd=%s:%s:%d-:%d", p.Proto, p.HostIP, p.HostPort, p.GuestPort)
	}
	return []string{"-netdev", user.String(), "-device", "virtio-net-pci,netdev=net,romfile="}
}

func socket(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d", id, fd) }

func fileNode(name, path string, readOnly bool) string {
	mode := "off"
	if readOnly {
		mode = "on"
	}
	return fmt.Sprintf("driver=file,node-name=%s,read-only=%s,filename=%s", name, mode, escape(path))
}

// escape doubles commas, which separate QEMU's options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }
