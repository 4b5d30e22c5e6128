package supervise

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A group is all processes of a service.
type group interface {
	enter(*syscall.SysProcAttr) // before a process is started
	add(pid int)                // after it
	has(pid int) bool
	signal(unix.Signal)
	empty() bool
	remove()
}

func newGroup(base, name string) (group, error) {
	if base == "" {
		return &sessions{}, nil
	}
	dir := filepath.Join(base, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &cgroup{f, s.Type == unix.CGROUP2_SUPER_MAGIC}, nil
}

// A cgroup knows all processes, whatever they fork.
type cgroup struct {
	dir     *os.File
	unified bool
}

func (c *cgroup) enter(attr *syscall.SysProcAttr) {
	attr.UseCgroupFD, attr.CgroupFD = c.unified, int(c.dir.Fd())
}

// add moves a process where it could not be started in its group: version 1 has
// no such call.
func (c *cgroup) add(pid int) {
	if !c.unified {
		_ = os.WriteFile(c.file(), []byte(strconv.Itoa(pid)), 0) // it may have ended
	}
}

func (c *cgroup) file() string { return filepath.Join(c.dir.Name(), "cgroup.procs") }

// members includes those of groups below: services may make them.
func (c *cgroup) members() []int {
	var pids []int
	_ = filepath.WalkDir(c.dir.Name(), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it went away
		}
		raw, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for word := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

func (c *cgroup) has(pid int) bool { return slices.Contains(c.members(), pid) }

func (c *cgroup) signal(s unix.Signal) {
	for _, pid := range c.members() {
		_ = unix.Kill(pid, s)
	}
}

func (c *cgroup) empty() bool { return len(c.members()) == 0 }

func (c *cgroup) remove() {
	_ = c.dir.Close()
	var dirs []string
	_ = filepath.WalkDir(c.dir.Name(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = unix.Rmdir(dir) // one with processes stays
	}
}

// Sessions know the processes that have not left the session they were started
// in.
type sessions struct{ leaders []int }

func (s *sessions) enter(*syscall.SysProcAttr) {}

func (s *sessions) add(pid int) { s.leaders = append(s.leaders, pid) }

func (s *sessions) has(pid int) bool {
	sid, err := unix.Getsid(pid)
	return err == nil && slices.Contains(s.leaders, sid)
}

func (s *sessions) signal(signal unix.Signal) {
	for _, pid := range s.leaders {
		_ = unix.Kill(-pid, signal)
	}
}

func (s *sessions) empty() bool {
	s.leaders = slices.DeleteFunc(s.leaders, func(pid int) bool { return unix.Kill(-pid, 0) == unix.ESRCH })
	return len(s.leaders) == 0
}

func (s *sessions) remove() {}
