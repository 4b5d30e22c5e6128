package node

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// switchRoot makes the verified tree the root of this process and of all that
// it starts. There is no second program to execute: process 1 goes on.
//
// The kernel's file systems are bound into the new root first, so that stages
// at work meanwhile find their paths at every moment.
func switchRoot() error {
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run"} {
		if err := unix.Mount(dir, newRoot+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	if err := unix.Mount("tmpfs", newRoot+"/tmp", "tmpfs", sealed, "mode=1777"); err != nil {
		return fmt.Errorf("mount /tmp: %w", err)
	}
	_ = os.RemoveAll(modulesDir) // memory that nobody reads again
	if err := os.Chdir(newRoot); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return os.Chdir("/")
}
