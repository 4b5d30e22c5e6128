package plan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A layer is over one filesystem: lower is what there is, upper what was
// written, merged both together.
type layer struct{ at, lower, upper, merged string }

// over lays empty layers over a root and what is mounted below it, for as long
// as work takes. Nothing outside of this call sees them: they are mounts of a
// namespace that only its thread is in.
func over(root string, work func(merged string, layers []layer) error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends, and the mounts with it
		result <- inNamespace(root, work)
	}()
	return <-result
}

func inNamespace(root string, work func(merged string, layers []layer) error) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mounts of a plan's own, which take root: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts of a plan's own: %w", err)
	}
	scratch, err := os.MkdirTemp("", "holdfast-plan-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(scratch) }()
	if err := unix.Mount("plan", scratch, "tmpfs", 0, "mode=0700"); err != nil {
		return fmt.Errorf("memory for a plan: %w", err)
	}
	defer func() { _ = unix.Unmount(scratch, unix.MNT_DETACH) }()
	layers, err := lay(root, scratch)
	if err != nil {
		return err
	}
	return work(layers[0].merged, layers)
}

// lay begins with the root's own layer.
func lay(root, scratch string) ([]layer, error) {
	root, err := filepath.Abs(root)
	if err == nil {
		root, err = filepath.EvalSymlinks(root)
	}
	if err != nil {
		return nil, err
	}
	below, err := mountsBelow(root, scratch)
	if err != nil {
		return nil, err
	}
	merged := filepath.Join(scratch, "merged")
	var layers []layer
	for i, at := range append([]string{"."}, below...) {
		l := layer{at: filepath.Join("/", at), lower: filepath.Join(root, at), merged: filepath.Join(merged, at),
			upper: filepath.Join(scratch, fmt.Sprint("upper", i))}
		err := l.mount(filepath.Join(scratch, fmt.Sprint("work", i)))
		if err != nil && i == 0 {
			return nil, fmt.Errorf("layer over %s: %w", root, err)
		}
		if err == nil {
			layers = append(layers, l)
		}
	}
	return layers, nil
}

// mount names the lower folder by a descriptor: its name may have characters
// that mean something among options. With an index hard links stay links
// (overlayfs.rst).
func (l layer) mount(work string) error {
	if err := errors.Join(os.Mkdir(l.upper, 0o700), os.Mkdir(work, 0o700), l.likeLower()); err != nil {
		return err
	}
	if l.at == "/" {
		if err := os.Mkdir(l.merged, 0o755); err != nil {
			return err
		}
	}
	fd, err := unix.Open(l.lower, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	options := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s,metacopy=on,index=on", fd, l.upper, work)
	return unix.Mount("plan", l.merged, "overlay", 0, options)
}

// likeLower gives the upper folder, which the merged one is, mode and owner.
func (l layer) likeLower() error {
	info, err := os.Stat(l.lower)
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.Chown(l.upper, int(stat.Uid), int(stat.Gid)), os.Chmod(l.upper, info.Mode()))
}

// pseudo filesystems hold no files of a config.
var pseudo = []string{"proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "bpf", "debugfs", "tracefs", "securityfs",
	"configfs", "fusectl", "pstore", "efivarfs", "hugetlbfs", "autofs", "binfmt_misc", "nsfs"}

// mountsBelow tells them relative to root, the shallow ones first
// (proc(5), mountinfo).
func mountsBelow(root, scratch string) ([]string, error) {
	raw, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	var list []string
	for line := range strings.Lines(string(raw)) {
		first, last, ok := strings.Cut(line, " - ")
		words := strings.Fields(first)
		if kind, _, _ := strings.Cut(last, " "); !ok || len(words) < 5 || slices.Contains(pseudo, kind) {
			continue
		}
		at := unescape(words[4])
		rel, err := filepath.Rel(root, at)
		if err == nil && rel != "." && filepath.IsLocal(rel) && at != scratch && !slices.Contains(list, rel) {
			list = append(list, rel)
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") })
	return list, nil
}

func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
