package api

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// A Tmpfs is memory of the machine that the workload finds at Path, empty.
// It is mounted nosuid and nodev.
type Tmpfs struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`           // bytes that it may hold
	Mode   string `json:"mode,omitempty"` // octal; empty: 1777
	NoExec bool   `json:"no_exec,omitempty"`
}

// The least and the most that a Tmpfs may hold.
const (
	MinTmpfs = 4 << 10
	MaxTmpfs = 1 << 40
)

var (
	modeForm = regexp.MustCompile(`^[0-7]{3,4}$`)
	hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// taken are the places that a machine fills itself.
var taken = []string{"/proc", "/sys", "/dev", "/run/secrets", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname"}

// Check refuses what could not be mounted, or would hide what is to be seen.
func (t Tmpfs) Check() error {
	switch {
	case !path.IsAbs(t.Path) || path.Clean(t.Path) != t.Path || t.Path == "/" || strings.ContainsRune(t.Path, 0):
		return fmt.Errorf("tmpfs %.80q: want the absolute path of a folder below /", t.Path)
	case t.Size < MinTmpfs || t.Size > MaxTmpfs:
		return fmt.Errorf("tmpfs %.80s: size of %d bytes: want %d to %d", t.Path, t.Size, MinTmpfs, int64(MaxTmpfs))
	case t.Mode != "" && !modeForm.MatchString(t.Mode):
		return fmt.Errorf("tmpfs %.80s: mode %.20q: want octal digits, as 1777", t.Path, t.Mode)
	}
	for _, place := range taken {
		if t.Path == place || strings.HasPrefix(t.Path, place+"/") {
			return fmt.Errorf("tmpfs %.80s: the machine itself fills %s", t.Path, place)
		}
	}
	return nil
}

// Check refuses what no machine could do.
func (p Process) Check() error {
	switch {
	case p.Hostname != "" && !hostForm.MatchString(p.Hostname):
		return fmt.Errorf("hostname %.80q: want 1 to 63 letters, digits and inner hyphens", p.Hostname)
	case p.Workdir != "" && (!path.IsAbs(p.Workdir) || strings.ContainsRune(p.Workdir, 0)):
		return fmt.Errorf("workdir %.80q: want an absolute path", p.Workdir)
	}
	return nil
}

// Check refuses what a machine would not do as it is written.
func (c GuestConfig) Check() error {
	seen := map[string]bool{}
	for _, t := range c.Tmpfs {
		if seen[t.Path] {
			return fmt.Errorf("tmpfs %.80s: is there twice", t.Path)
		}
		seen[t.Path] = true
		if err := t.Check(); err != nil {
			return err
		}
	}
	if err := c.CheckMounts(); err != nil {
		return err
	}
	for _, call := range c.Control {
		switch call {
		case CallSignal, CallStop, CallStdin:
		default:
			return fmt.Errorf("unknown control call %q", call)
		}
	}
	if c.Process.Terminal {
		return errors.New("a terminal is not supported")
	}
	return errors.Join(c.checkAPI(), c.Process.Check(), c.checkPod(), c.checkMachine())
}
