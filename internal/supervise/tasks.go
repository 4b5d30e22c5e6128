package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// bound says how many processes and threads the group may have.
func (c *cgroup) bound(tasks string) error {
	if share, ok := strings.CutSuffix(tasks, "%"); ok {
		percent, err := strconv.ParseUint(share, 10, 32)
		if err != nil {
			return err
		}
		tasks = strconv.FormatUint(max(1, systemTasks()*percent/100), 10)
	}
	at := filepath.Join(c.dir.Name(), "pids.max")
	if _, err := os.Stat(at); err != nil && c.unified {
		// A controller is handed down from folder to folder (cgroup-v2, "Enabling and
		// Disabling"); one above the hierarchy has no such file.
		var dirs []string
		for dir := filepath.Dir(c.dir.Name()); exists(filepath.Join(dir, "cgroup.subtree_control")); dir = filepath.Dir(dir) {
			dirs = append([]string{dir}, dirs...)
		}
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+pids"), 0); err != nil {
				return err
			}
		}
	}
	f, err := os.OpenFile(at, os.O_WRONLY, 0) // a kernel without the controller has no such file
	if err != nil {
		return err
	}
	_, err = f.WriteString(tasks)
	return errors.Join(err, f.Close())
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// systemTasks is what a share is one of: the most that the kernel allows.
func systemTasks() uint64 {
	least := uint64(1 << 22)
	for _, name := range []string{"pid_max", "threads-max"} {
		raw, _ := os.ReadFile("/proc/sys/kernel/" + name)
		if n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err == nil {
			least = min(least, n)
		}
	}
	return least
}

func (s *sessions) bound(string) error { return errors.New("there are no control groups") }
