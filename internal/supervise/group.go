package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A group is all processes of a service.
type group interface {
	// start calls what starts a process, so that it is one of the group.
	start(attr *syscall.SysProcAttr, process func() (pid int, err error)) error
	has(pid int) bool
	signal(unix.Signal)
	bound(tasks string) error
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

// start has the kernel make the process in the group. Version 1 has no such
// call, but there a thread alone may join, and what it forks is where it is.
func (c *cgroup) start(attr *syscall.SysProcAttr, process func() (int, error)) error {
	if c.unified {
		attr.UseCgroupFD, attr.CgroupFD = true, int(c.dir.Fd())
		_, err := process()
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its goroutine
		self := []byte(strconv.Itoa(unix.Gettid()))
		err := os.WriteFile(filepath.Join(c.dir.Name(), "tasks"), self, 0)
		if err == nil {
			_, err = process()
			err = errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(c.dir.Name()), "tasks"), self, 0))
		}
		done <- err
	}()
	return <-done
}

// members includes those of groups below: services may make them.
func (c *cgroup) members() []int {
	var pids []int
	_ = filepath.WalkDir(c.dir.Name(), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it went away
		}
		raw, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for word := range strings.FieldsSeq(string(raw)) {
			if pid, err := strconv.Atoi(word); err == nil && pid != os.Getpid() {
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

func (s *sessions) start(_ *syscall.SysProcAttr, process func() (int, error)) error {
	pid, err := process()
	if err == nil {
		s.leaders = append(s.leaders, pid)
	}
	return err
}

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

// FindCgroup makes the folder for Config.Cgroup where this system has a cgroup
// hierarchy that it may write to, and returns "" where not.
func FindCgroup(name string) string {
	for _, hierarchy := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(hierarchy, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(hierarchy, name)
		if os.MkdirAll(dir, 0o755) == nil {
			return dir
		}
	}
	return ""
}
