package node

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A mount is one of the kernel's own file systems, at its usual place.
type mount struct {
	kind, path string
	flags      uintptr
	options    string
}

const sealed = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

var kernelMounts = [...]mount{
	{"proc", "/proc", sealed, ""},
	{"sysfs", "/sys", sealed, ""},
	{"securityfs", "/sys/kernel/security", sealed, ""},
	{"cgroup2", "/sys/fs/cgroup", sealed, "nsdelegate,memory_recursiveprot"},
	{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
	{"devpts", "/dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
}

// mountKernel mounts what every later stage reads. It also forgets /.extra,
// where systemd-stub leaves credentials that nobody signed.
func mountKernel() error {
	if err := os.RemoveAll("/.extra"); err != nil {
		return err
	}
	for _, m := range kernelMounts {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.path, err)
		}
	}
	return nil
}
