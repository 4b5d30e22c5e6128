package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// mountCgroups mounts the machine's part of the host's control groups: the
// host put process 1 into a group of its own, and a cgroup namespace shows that
// as the root.
func mountCgroups(root string, m api.ContainerMachine) error {
	dir := filepath.Join(root, "sys/fs/cgroup")
	if m.Cgroups == 2 {
		if err := unix.Mount("cgroup2", dir, "cgroup2", plain, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
		return errors.Join(leaveTop(dir), countMemory(dir))
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", plain, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	for folder, controller := range m.Controllers {
		path := filepath.Join(dir, folder)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", path, "cgroup", plain, controller); err != nil {
			return fmt.Errorf("mount cgroup %s: %w", controller, err)
		}
		if err := errors.Join(passCPUs(path), leaveTop(path)); err != nil {
			return err
		}
	}
	return nil
}

// components is the group of process 1 and of all that it keeps running, without pods but
// for the machines of confidential ones.
const components = "machine"

// leaveTop moves process 1 below the top: a group of version 2 that gives
// controllers to others may have no process of its own (cgroup-v2.rst, "No
// Internal Process Constraint"), and what is asked of components' memory is not to
// be asked of pods'.
func leaveTop(dir string) error {
	own := filepath.Join(dir, components)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("1"), 0o644)
}

// countMemory has the memory of components counted in a group of version 2 from
// the first page on: what was taken before stays with the group above
// (cgroup-v2.rst, "Memory Ownership").
func countMemory(dir string) error {
	has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil || !slices.Contains(strings.Fields(string(has)), "memory") {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0o644)
}

// passCPUs gives components the processors of a group of version 1, without which no process
// may be in theirs (cpusets.rst).
func passCPUs(dir string) error {
	own := filepath.Join(dir, components)
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil // another controller
		}
		if err := os.WriteFile(filepath.Join(own, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// settings are what kubelet wants of the kernel (setupKernelTunables in its
// container manager). They are the whole host's, so the machine sees files of
// its own in their place.
var settings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// keepSettings keeps the machine from the host's settings. Those of the network
// are its own.
func keepSettings(root string) error {
	sys := filepath.Join(root, "proc/sys")
	for _, part := range []string{"vm", "kernel", "fs", "dev", "debug"} {
		path := filepath.Join(sys, part)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("keep %s: %w", path, err)
		}
		if err := readOnly(path); err != nil {
			return err
		}
	}
	shown := filepath.Join(root, "run/settings")
	if err := os.MkdirAll(shown, 0o755); err != nil {
		return err
	}
	for name, value := range settings {
		path := filepath.Join(sys, name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		file := filepath.Join(shown, filepath.Base(name))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s: %w", path, err)
		}
	}
	return nil
}
