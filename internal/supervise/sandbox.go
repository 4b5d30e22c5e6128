package supervise

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Sandbox is what a service sees and may do less than the machine's other
// processes (systemd.exec(5), "Sandboxing" and "Capabilities").
type Sandbox struct {
	Access         []Access
	PrivateTmp     bool   // /tmp and /var/tmp are its own
	PrivateDevices bool   // /dev has no devices of hardware
	Proc           string // options of a /proc of its own, "" for the machine's
	// Dropped are capabilities, as bits, that nothing of it ever gets.
	Dropped uint64
	// Ambient are those that it keeps as another user.
	Ambient uint64
	Calls   Calls
	NoGain  bool // no program called as another user than root gains privileges
}

// An Access is what may be done below a path.
type Access struct {
	Path     string
	Mode     string
	Optional bool // it may not be there
}

// Modes of access. Of two paths the longer counts, and of two modes of one path
// the stricter, whichever came first.
const (
	ReadWrite = "rw"
	ReadOnly  = "ro"
	Hidden    = "hidden" // it is there, and nothing can be read
	Empty     = "empty"  // an empty folder in memory
)

func (s Sandbox) inUse() bool {
	return s.mounts() || s.Dropped != 0 || s.Ambient != 0 || s.Calls.InUse() || s.NoGain
}

func (s Sandbox) mounts() bool {
	return len(s.Access) > 0 || s.Proc != "" || s.PrivateTmp || s.PrivateDevices
}

// A cell is a Sandbox for the launcher.
type cell struct {
	Sandbox
	Tmp   []string // that stand for /tmp and /var/tmp
	Stage string   // a folder that mounts are made in
}

// enter is called on a thread of its own, before anything is given up.
func (c cell) enter() error {
	if !c.mounts() {
		return nil
	}
	at, err := unix.Getwd()
	if err == nil {
		err = unix.Unshare(unix.CLONE_NEWNS)
	}
	if err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := unix.Mount("tmpfs", c.Stage, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("stage of mounts: %w", err)
	}
	if c.Proc != "" {
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, c.Proc); err != nil {
			return fmt.Errorf("mount /proc: %w", err)
		}
	}
	if err := c.devices(); err != nil {
		return err
	}
	for _, dir := range c.Tmp {
		at := filepath.Dir(dir)
		if err := bind(filepath.Join(dir, "tmp"), at); err != nil {
			return err
		}
		c.Access = append(c.Access, Access{Path: at, Mode: ReadWrite}) // whatever is above it
	}
	if err := c.narrow(); err != nil {
		return err
	}
	if err := unix.Unmount(c.Stage, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("stage of mounts: %w", err)
	}
	return unix.Chdir(at) // as it is now: the folder before lies below the mounts
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	return nil
}

// narrow makes what is below paths read-only, hidden or empty.
func (c cell) narrow() error {
	list, err := c.real()
	if err != nil {
		return err
	}
	for _, a := range list {
		if err := c.place(a); err != nil {
			return fmt.Errorf("%s: %w", a.Path, err)
		}
	}
	raw, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := octal.Replace(fields[4])
		if mode := nearest(list, at); mode != ReadOnly && mode != Hidden {
			continue
		}
		err := unix.MountSetattr(unix.AT_FDCWD, at, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		if err != nil && err != unix.EINVAL && err != unix.ENOENT { // it lies below another mount
			return fmt.Errorf("%s: read-only: %w", at, err)
		}
	}
	return nil
}

// octal are what proc(5) writes for bytes that would part fields.
var octal = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// real are the paths without links, shorter ones first, without what lies below
// something hidden.
func (c cell) real() ([]Access, error) {
	var list []Access
	for _, a := range c.Access {
		at, err := filepath.EvalSymlinks(a.Path)
		switch {
		case err != nil && a.Optional:
			continue
		case err != nil:
			return nil, err
		}
		list = append(list, Access{Path: at, Mode: a.Mode})
	}
	var kept []Access
	for _, a := range strictest(list) {
		if mode := nearest(kept, filepath.Dir(a.Path)); mode != Hidden && mode != Empty {
			kept = append(kept, a)
		}
	}
	return kept, nil
}

// strictest has each path once, shorter ones first.
func strictest(list []Access) []Access {
	rank := []string{Hidden, Empty, ReadOnly, ReadWrite}
	slices.SortFunc(list, func(a, b Access) int {
		return cmp.Or(len(a.Path)-len(b.Path), strings.Compare(a.Path, b.Path), slices.Index(rank, a.Mode)-slices.Index(rank, b.Mode))
	})
	return slices.CompactFunc(list, func(a, b Access) bool { return a.Path == b.Path })
}

// nearest is the mode of the longest path that a path is at or below.
func nearest(list []Access, path string) (mode string) {
	longest := -1
	for _, a := range list {
		if below(path, a.Path) && len(a.Path) > longest {
			longest, mode = len(a.Path), a.Mode
		}
	}
	return mode
}

func below(path, folder string) bool {
	return folder == "/" || path == folder || strings.HasPrefix(path, folder+"/")
}

// place makes a path a mount of its own.
func (c cell) place(a Access) error {
	info, err := os.Stat(a.Path)
	if err != nil {
		return err
	}
	switch {
	case a.Path == "/":
		return nil // it is one
	case a.Mode == Empty:
		return unix.Mount("tmpfs", a.Path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_RDONLY, "mode=0755")
	case a.Mode != Hidden:
		return bind(a.Path, a.Path)
	}
	nothing := filepath.Join(c.Stage, "nothing")
	if info.IsDir() {
		nothing = filepath.Join(c.Stage, "nothing.d")
		err = os.Mkdir(nothing, 0)
	} else {
		err = os.WriteFile(nothing, nil, 0)
	}
	if err != nil && !os.IsExist(err) {
		return err
	}
	return bind(nothing, a.Path)
}
