package supervise

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// pseudo are the devices of a private /dev, and links are its links.
var (
	pseudo = []string{"null", "zero", "full", "random", "urandom", "tty"}
	links  = map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}
	inside = []string{"pts", "shm", "mqueue", "hugepages"}
)

func (c cell) devices() error {
	if !c.PrivateDevices {
		return nil
	}
	dev := filepath.Join(c.Stage, "dev")
	if err := os.Mkdir(dev, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	for _, name := range pseudo {
		if err := carry("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for _, name := range inside {
		if err := carry("/dev/"+name, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	if target, err := os.Readlink("/dev/log"); err == nil {
		_ = os.Symlink(target, filepath.Join(dev, "log"))
	}
	if err := unix.Mount(dev, "/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	return unix.MountSetattr(unix.AT_FDCWD, "/dev", 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// carry shows a file or folder at another place, if it is there.
func carry(from, to string) error {
	info, err := os.Stat(from)
	switch {
	case err != nil:
		return nil
	case info.IsDir():
		err = os.Mkdir(to, 0o755)
	default:
		err = os.WriteFile(to, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return bind(from, to)
}
