package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// device is a node of /dev, by its numbers in the kernel's devices.txt.
type device struct {
	name         string
	major, minor uint32
}

var devices = [...]device{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
	{"kmsg", 1, 11}, // where kubelet learns who was killed for want of memory
	{"fuse", 10, 229},
}

// hostDevices come from the host, where it has them: virtual machines in pods.
var hostDevices = [...]string{"kvm", "net/tun", "vhost-net", "vhost-vsock"}

var deviceLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}

func makeDevices(root string) error {
	dev := filepath.Join(root, "dev")
	for _, d := range devices {
		path := filepath.Join(dev, d.name)
		err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == nil {
			err = os.Chmod(path, 0o666)
		}
		if err != nil {
			return fmt.Errorf("device %s: %w", d.name, err)
		}
	}
	if err := os.Chmod(filepath.Join(dev, "kmsg"), 0o600); err != nil {
		return err
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, name := range hostDevices {
		if err := copyDevice(filepath.Join("/dev", name), filepath.Join(dev, name)); err != nil {
			return fmt.Errorf("device %s: %w", name, err)
		}
	}
	return nil
}

func copyDevice(from, to string) error {
	var st unix.Stat_t
	err := unix.Stat(from, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return unix.Mknod(to, unix.S_IFCHR|0o600, int(st.Rdev))
}
