package container

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where every distribution mounts control groups.
const cgroupRoot = "/sys/fs/cgroup"

// ours is the group below which all others are.
const ours = "holdfast"

// groups are how the host has its control groups.
type groups struct {
	version     int
	controllers map[string]string // version 1: folder below cgroupRoot → mount option
}

// readGroups finds out which version the host has at cgroupRoot. A version 2 beside
// version 1 ("hybrid") has no controller and is left alone.
func readGroups() (groups, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return groups{}, fmt.Errorf("%s: %w", cgroupRoot, err)
	}
	if st.Type == unix.CGROUP2_SUPER_MAGIC {
		return groups{version: 2}, nil
	}
	raw, err := os.ReadFile("/proc/thread-self/mounts")
	if err != nil {
		return groups{}, err
	}
	return groups{version: 1, controllers: parseMounts(raw)}, nil
}

// complete says what kubelet needs and the host does not have.
func (g groups) complete() error {
	if g.version == 2 {
		return nil
	}
	for _, want := range []string{"cpu", "cpuacct", "cpuset", "memory", "pids"} {
		if !g.has(want) {
			return &LackError{fmt.Sprintf("control group %q", want), "kubelet needs"}
		}
	}
	return nil
}

func (g groups) has(controller string) bool {
	for _, option := range g.controllers {
		if slices.Contains(strings.Split(option, ","), controller) {
			return true
		}
	}
	return false
}

// parseMounts reads proc_pid_mounts(5): a hierarchy's options name its
// controllers among flags that all mounts have.
func parseMounts(raw []byte) map[string]string {
	found := map[string]string{}
	for line := range bytes.Lines(raw) {
		f := strings.Fields(string(line))
		if len(f) < 4 || f[2] != "cgroup" {
			continue
		}
		dir, folder := filepath.Split(filepath.Clean(f[1]))
		if dir != cgroupRoot+"/" {
			continue
		}
		var options []string
		for _, o := range strings.Split(f[3], ",") {
			switch o {
			case "rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime", "xattr", "clone_children":
			default:
				if !strings.HasPrefix(o, "release_agent=") {
					options = append(options, o)
				}
			}
		}
		found[folder] = strings.Join(options, ",")
	}
	return found
}

// tops are the folders of the host in which groups are made.
func (g groups) tops() []string {
	if g.version == 2 {
		return []string{cgroupRoot}
	}
	var tops []string
	for folder := range g.controllers {
		tops = append(tops, filepath.Join(cgroupRoot, folder))
	}
	return tops
}

// joinCgroups makes the machine's groups and puts its process 1 into them.
func joinCgroups(id, machine string, pid int) (found groups, err error) {
	return found, withGroups(func(g groups) error {
		found = g
		return g.join(id, machine, pid)
	})
}

func (g groups) join(id, machine string, pid int) error {
	for _, top := range g.tops() {
		dir := top
		for _, part := range []string{ours, clean(id), clean(machine)} {
			if g.version == 2 {
				if err := passOn(dir); err != nil {
					return err
				}
			}
			parent := dir
			dir = filepath.Join(dir, part)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := inherit(parent, dir); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// passOn lets the groups below dir have all controllers that it has.
func passOn(dir string) error {
	raw, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, controller := range strings.Fields(string(raw)) {
		err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		if err != nil {
			return fmt.Errorf("pass controller %s on: %w", controller, err)
		}
	}
	return nil
}

// inherit fills in what a cpuset of version 1 must have before a process may be
// in it.
func inherit(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) || len(bytes.TrimSpace(value)) > 0 {
			continue
		}
		if value, err = os.ReadFile(filepath.Join(parent, name)); err != nil {
			continue // the top of version 2 has no such file
		}
		if len(bytes.TrimSpace(value)) == 0 {
			continue // version 2: empty is the parent's
		}
		if err := os.WriteFile(filepath.Join(dir, name), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// RemoveCgroups removes the groups of a machine that is gone, or of all machines
// of a network when machine is empty.
func RemoveCgroups(id, machine string) error {
	return withGroups(func(g groups) error { return g.remove(id, machine) })
}

func (g groups) remove(id, machine string) error {
	var problems []error
	for _, top := range g.tops() {
		all := filepath.Join(top, ours)
		network := filepath.Join(all, clean(id))
		if machine != "" {
			problems = append(problems, removeTree(filepath.Join(network, clean(machine))))
		} else {
			problems = append(problems, removeTree(network))
		}
		_ = os.Remove(network) // refused as long as there are others
		_ = os.Remove(all)
	}
	return errors.Join(problems...)
}

// removeTree removes a group and those below it. Processes that were just
// killed are in their group for a moment longer.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("remove control group %s: %w", dir, err)
		}
	}
}
