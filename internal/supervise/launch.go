package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A setup is what a process sets of itself before it becomes the service's
// program.
type setup struct {
	Path       string
	Limits     []Limit             `json:",omitempty"`
	UMask      *int                `json:",omitempty"`
	Nice       *int                `json:",omitempty"`
	OOMScore   *int                `json:",omitempty"`
	NoNewPrivs bool                `json:",omitempty"`
	Credential *syscall.Credential `json:",omitempty"`
	Cell       *cell               `json:",omitempty"`
}

func (p Process) needsLauncher() bool {
	return len(p.Limits) > 0 || p.UMask != nil || p.Nice != nil || p.OOMScore != nil || p.NoNewPrivs || p.Sandbox.inUse()
}

// launcher is the command line that calls Launch. A privileged command is held by
// no sandbox, and may gain what it likes.
func (p Process) launcher(words []string, path string, argv []string, c *syscall.Credential, in *cell, privileged bool) []string {
	noGain := p.NoNewPrivs && !privileged || in != nil && in.NoGain && c != nil && c.Uid != 0
	raw, _ := json.Marshal(setup{path, p.Limits, p.UMask, p.Nice, p.OOMScore, noGain, c, in}) // our own type
	return slices.Concat(words, []string{string(raw)}, argv)
}

// ExitLaunch is the code of a launcher that could not become the program
// (systemd.exec(5), EXIT_EXEC).
const ExitLaunch = 203

// Launch is what the launcher does with the words behind its own: it never
// returns when all goes well.
func Launch(words []string) error {
	if len(words) < 2 {
		return errors.New("want a setup and a command")
	}
	var s setup
	if err := json.Unmarshal([]byte(words[0]), &s); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	runtime.LockOSThread() // what is set for one thread must hold for the one that execs
	if err := s.apply(); err != nil {
		return err
	}
	if err := unix.Exec(s.Path, words[1:], os.Environ()); err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

func (s setup) apply() error {
	for _, l := range s.Limits {
		// The standard library's call also makes it forget what it would restore.
		if err := syscall.Setrlimit(l.Resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return fmt.Errorf("limit %d: %w", l.Resource, err)
		}
	}
	if s.OOMScore != nil {
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(*s.OOMScore)), 0); err != nil {
			return err
		}
	}
	if s.Nice != nil {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, *s.Nice); err != nil {
			return fmt.Errorf("nice %d: %w", *s.Nice, err)
		}
	}
	if s.UMask != nil {
		unix.Umask(*s.UMask)
	}
	if s.Cell == nil {
		s.Cell = &cell{}
	}
	held := func(step func() error) error {
		if err := step(); err != nil {
			return fmt.Errorf("sandbox: %w", err)
		}
		return nil
	}
	for _, step := range []func() error{s.Cell.enter, s.Cell.giveUp, s.Cell.Calls.enter} {
		if err := held(step); err != nil {
			return err
		}
	}
	if err := become(s.Credential); err != nil {
		return err
	}
	if err := held(s.Cell.keep); err != nil {
		return err
	}
	if s.NoNewPrivs {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	return nil
}

func become(c *syscall.Credential) error {
	if c == nil {
		return nil
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := syscall.Setgid(int(c.Gid)); err != nil {
		return fmt.Errorf("group %d: %w", c.Gid, err)
	}
	if err := syscall.Setuid(int(c.Uid)); err != nil {
		return fmt.Errorf("user %d: %w", c.Uid, err)
	}
	return nil
}
