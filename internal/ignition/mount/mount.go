// Package mount has the two stages around the one that writes files: the
// config's filesystems are mounted below the root, and unmounted again.
//
// A mount point is reached through folders only, never through a link, so
// that nothing is mounted outside of the root.
package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sys/unix"

	"holdfast/internal/ignition"
)

// Config is what both stages work with.
type Config struct {
	Root  string
	State *ignition.State
	// Resolve finds a device; the default follows links.
	Resolve func(string) (string, error)
	Log     *slog.Logger
}

func (c Config) filled() Config {
	if c.Resolve == nil {
		c.Resolve = filepath.EvalSymlinks
	}
	if c.State == nil {
		c.State = &ignition.State{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// New is the stage that mounts.
func New(c Config) ignition.Stage { return &stage{c.filled()} }

// NewUmount is the stage that takes the mounts away, deepest first.
func NewUmount(c Config) ignition.Stage { return &umount{c.filled()} }

type (
	stage  struct{ Config }
	umount struct{ Config }
)

// Name is how the command line calls it.
func (*stage) Name() string { return "mount" }

// Name is how the command line calls it.
func (*umount) Name() string { return "umount" }

// A place is a filesystem with its index in the config.
type place struct {
	types.Filesystem
	index int
}

func (p place) at(err error) error {
	if err == nil {
		return nil
	}
	return ignition.At(fmt.Errorf("%s at %s: %w", p.Device, *p.Path, err), "$.storage.filesystems[%d]", p.index)
}

// places are what has a path and can be mounted, the shallowest first.
func places(c types.Config) []place {
	var list []place
	for i, f := range c.Storage.Filesystems {
		format := ""
		if f.Format != nil {
			format = *f.Format
		}
		if f.Path != nil && *f.Path != "" && format != "" && format != "none" && format != "swap" {
			list = append(list, place{f, i})
		}
	}
	slices.SortStableFunc(list, func(a, b place) int { return depth(*a.Path) - depth(*b.Path) })
	return list
}

func depth(path string) int { return strings.Count(filepath.Clean("/"+path)+"/", "/") }

// Run mounts them all.
func (s *stage) Run(ctx context.Context, c types.Config) error {
	for _, p := range places(c) {
		if err := errors.Join(ctx.Err(), p.at(s.mount(p))); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) mount(p place) error {
	at, err := s.point(*p.Path)
	if err != nil {
		return err
	}
	dev, err := s.Resolve(p.Device)
	if err != nil {
		return err
	}
	if isMounted(dev, at) {
		s.Log.Info("is mounted already", "device", p.Device, "path", *p.Path)
		return nil
	}
	var options []string
	for _, o := range p.MountOptions {
		options = append(options, string(o))
	}
	flags, data := parse(options)
	if err := unix.Mount(dev, at, *p.Format, flags, data); err != nil {
		return fmt.Errorf("mount as %s with options %q: %w", *p.Format, strings.Join(options, ","), err)
	}
	return nil
}

// point makes the folders that a mount point lacks, and notes them for the
// files stage, which labels them.
func (s *stage) point(path string) (string, error) {
	at := filepath.Clean(s.Root)
	for _, part := range strings.Split(strings.Trim(filepath.Clean("/"+path), "/"), "/") {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := mkdir(at); err != nil {
				return "", err
			}
			s.State.NotatedDirectories = append(s.State.NotatedDirectories, "/"+strings.TrimPrefix(strings.TrimPrefix(at, filepath.Clean(s.Root)), "/"))
		case err != nil:
			return "", err
		case !info.IsDir():
			return "", fmt.Errorf("%s is no folder, and links are not followed to a mount point", at)
		}
	}
	return at, nil
}

// mkdir gives the mode whatever the umask.
func mkdir(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// isMounted looks for a device's mount in the kernel's list.
func isMounted(dev, at string) bool {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		words := strings.Fields(line)
		if len(words) < 2 || unescape(words[1]) != at {
			continue
		}
		if source, err := filepath.EvalSymlinks(unescape(words[0])); err == nil && source == dev {
			return true
		}
	}
	return false
}

// unescape reads what proc(5) writes for blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// Run unmounts them all, and has the kernel write what the root was given: it is
// the last stage, and a power cut behind it loses nothing.
func (u *umount) Run(ctx context.Context, c types.Config) error {
	list := places(c)
	slices.Reverse(list)
	for _, p := range list {
		at := filepath.Join(u.Root, filepath.Clean("/"+*p.Path))
		if err := errors.Join(ctx.Err(), p.at(unix.Unmount(at, unix.UMOUNT_NOFOLLOW))); err != nil {
			return err
		}
	}
	root, err := os.Open(u.Root)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(root.Fd())), root.Close())
}
