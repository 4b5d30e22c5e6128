package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// withGroups has do work on the host's control groups. Where nobody has mounted them,
// as in a chroot, they are mounted for do alone.
func withGroups(do func(groups) error) error {
	g, err := readGroups()
	if err == nil && (g.version == 2 || len(g.controllers) > 0) {
		return do(g)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this, and its mounts with it
		done <- apart(do)
	}()
	return <-done
}

// apart mounts the control groups in a mount namespace of this thread.
func apart(do func(groups) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("own mount namespace: %w", err)
	}
	err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // the root of a chroot is no mount
		err = unix.Mount("", "/sys", "", unix.MS_PRIVATE|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	if err := mountGroups(parseHierarchies(raw)); err != nil {
		return fmt.Errorf("mount control groups: %w", err)
	}
	g, err := readGroups()
	if err != nil {
		return err
	}
	return do(g)
}

// parseHierarchies reads /proc/PID/cgroup (cgroups(7)): the controllers of each
// hierarchy of version 1, or none where the host has version 2 alone.
func parseHierarchies(raw []byte) (all []string) {
	for line := range bytes.Lines(raw) {
		f := strings.SplitN(strings.TrimSuffix(string(line), "\n"), ":", 3)
		if len(f) == 3 && f[1] != "" {
			all = append(all, f[1])
		}
	}
	return all
}

// mountGroups mounts hierarchies as distributions do.
func mountGroups(hierarchies []string) error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if len(hierarchies) == 0 {
		return unix.Mount("cgroup2", cgroupRoot, "cgroup2", flags, "")
	}
	if err := unix.Mount("tmpfs", cgroupRoot, "tmpfs", flags, "mode=0755,size=1m"); err != nil {
		return err
	}
	for _, controllers := range hierarchies {
		dir := filepath.Join(cgroupRoot, filepath.Base(strings.TrimPrefix(controllers, "name=")))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", dir, "cgroup", flags, controllers); err != nil {
			return fmt.Errorf("%s: %w", controllers, err)
		}
	}
	return nil
}
