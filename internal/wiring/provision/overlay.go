package provision

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// memory is where the overlays keep what is written when no disk does, and
// stateDir where the file system of the state is mounted.
const (
	memory   = "/run/overlay"
	stateDir = "/run/state"
)

// overlaid are the folders of the root that a machine writes to.
var overlaid = []string{"/etc", "/var"}

// overlays lays what is written over the verified folders. Without a base it
// is memory, which ends with the boot.
func (a *application) overlays(base string) error {
	if base == "" {
		base = memory
		if err := os.MkdirAll(base, 0o700); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700"); err != nil {
			return fmt.Errorf("memory for %v: %w", overlaid, err)
		}
	}
	for _, folder := range overlaid {
		if err := overlay(a.Root, folder, base); err != nil {
			return fmt.Errorf("overlay of %s: %w", folder, err)
		}
	}
	a.report.Keep = keptReport // from now on there is a place for it
	return nil
}

func overlay(root, folder, base string) error {
	at := filepath.Join(root, folder)
	upper, work := filepath.Join(base, folder), filepath.Join(base, "work"+folder)
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at, upper, work)
	return unix.Mount("overlay", at, "overlay", unix.MS_NODEV, options)
}
