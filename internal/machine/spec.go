package machine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"holdfast/internal/api"
)

// A Spec says what machine to start. Only Folder, and one of Firmware and
// Kernel, must be set.
type Spec struct {
	Name   string // for logs and errors; default: the folder's name
	Folder string // its state and logs; made with mode 0700, used by one machine at a time
	Disk   string // raw disk image; the machine sees it read-only, nothing ever writes it

	// Disks are raw images beside Disk that the machine may write: they outlive
	// it, and no other machine may have them meanwhile.
	Disks []string

	Memory int // MiB; default 1024
	CPUs   int // default 2, or 1 when every instruction is emulated: it boots sooner
	Accel  Accel

	Firmware *Firmware // boot the disk by UEFI
	Kernel   *Kernel   // or boot this kernel without firmware

	// TPM is the machine's TPM, if it is to have one. Whoever starts the
	// machine owns it from then on, and closes it when the machine is gone or
	// did not start.
	TPM TPM

	// InitData is the document handed over as api.InitDataFile. It may name
	// secrets' paths, so it lies in Folder with mode 0600.
	InitData []byte

	Ports []Forward

	// Wire is the machine's network instead of one of this process's own, which is
	// by user-mode emulation.
	Wire *Wire

	// Console gets a copy of all that the machine writes to its serial port:
	// the machine's own bytes, escape sequences and all.
	Console io.Writer

	// Tap and Extra are for a host that attacks its machine; nil for all others.
	// Tap is given the host's end of the control channel and returns what to
	// use instead; Extra are words for whatever runs the machine.
	Tap   func(net.Conn) net.Conn
	Extra []string
}

// A Wire is a tap device of the host's, opened, and the machine's place in the
// network behind it.
type Wire struct {
	Tap  *os.File // stays the caller's
	MAC  net.HardwareAddr
	Link api.GuestLink
}

// Firmware is UEFI firmware in flash memory.
type Firmware struct {
	Code string // the code volume, read only
	Vars string // a prepared variable store; each machine gets a copy
	// SecureBoot says that Code is a build that keeps its variables from the
	// operating system by system management mode. Whether signatures are
	// demanded is decided by the keys in Vars.
	SecureBoot bool
}

// A Kernel is booted directly: for bare tests, nothing is verified.
type Kernel struct {
	Image   string
	Initrd  string
	Cmdline string
}

// A TPM is a software TPM that listens for one machine.
type TPM interface {
	ControlSocket() string // path of swtpm's control channel
	Close() error
}

// A Forward publishes a port of the machine on the host.
type Forward struct {
	HostIP    netip.Addr // default 127.0.0.1
	HostPort  uint16     // 0: any free one; Machine.Ports tells which
	GuestPort uint16
	Proto     string // "tcp" (the default) or "udp"
}

// String gives the forward as docker writes it.
func (f Forward) String() string {
	return fmt.Sprintf("%s:%d->%d/%s", f.HostIP, f.HostPort, f.GuestPort, f.Proto)
}

// An Accel says how a machine's instructions are executed.
type Accel string

// The accelerators.
const (
	AccelAuto Accel = "auto" // kvm where a probe shows that it works, else tcg
	AccelKVM  Accel = "kvm"
	AccelTCG  Accel = "tcg"
)

// ParseAccel reads the name of an accelerator; the empty name is AccelAuto.
func ParseAccel(name string) (Accel, error) {
	switch a := Accel(name); a {
	case "":
		return AccelAuto, nil
	case AccelAuto, AccelKVM, AccelTCG:
		return a, nil
	}
	return "", fmt.Errorf("accelerator %q: want auto, kvm or tcg", name)
}

// Complete checks a spec and returns it with the defaults filled in.
func (s Spec) Complete() (Spec, error) {
	if s.Name == "" {
		s.Name = filepath.Base(s.Folder)
	}
	if s.Memory == 0 {
		s.Memory = 1024
	}
	var err error
	if s.Accel, err = ParseAccel(string(s.Accel)); err != nil {
		return s, err
	}
	if s.Ports, err = completePorts(s.Ports); err != nil {
		return s, err
	}
	return s, s.check()
}

func (s Spec) check() error {
	switch {
	case s.Folder == "":
		return errors.New("no folder given for its state")
	case (s.Firmware == nil) == (s.Kernel == nil):
		return errors.New("want either firmware or a kernel to boot")
	case s.Firmware != nil && s.Disk == "":
		return errors.New("no disk given for the firmware to boot")
	case s.Memory < 64:
		return fmt.Errorf("memory of %d MiB: want at least 64", s.Memory)
	case s.Wire != nil && len(s.Ports) > 0:
		return errors.New("ports are published of a machine without a wire of its own")
	case s.CPUs < 0:
		return fmt.Errorf("%d CPUs: want at least 1", s.CPUs)
	}
	return nil
}

func completePorts(ports []Forward) ([]Forward, error) {
	out := make([]Forward, len(ports))
	for i, f := range ports {
		if !f.HostIP.IsValid() {
			f.HostIP = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		if f.Proto == "" {
			f.Proto = "tcp"
		}
		if f.Proto != "tcp" && f.Proto != "udp" {
			return nil, fmt.Errorf("port %d: protocol %q: want tcp or udp", f.GuestPort, f.Proto)
		}
		if f.GuestPort == 0 {
			return nil, errors.New("port 0 of a machine cannot be published")
		}
		if !f.HostIP.Is4() {
			return nil, fmt.Errorf("port %d: host address %s: want an IPv4 address", f.GuestPort, f.HostIP)
		}
		out[i] = f
	}
	return out, nil
}
