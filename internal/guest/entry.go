package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// folder makes a folder, or keeps the one that is there.
func (u *unpacker) folder(dir int, base string) error {
	err := unix.Mkdirat(dir, base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var s unix.Stat_t
	if err := unix.Fstatat(dir, base, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := u.tree.remove(dir, base); err != nil {
		return err
	}
	return unix.Mkdirat(dir, base, 0o700)
}

// file makes a file with its content.
func (u *unpacker) file(dir int, base string, content io.Reader) error {
	fd, err := unix.Openat(dir, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(descriptor(fd), content, u.buffer)
	return errors.Join(err, unix.Close(fd))
}

// descriptor writes without what os.File does for files that may block.
type descriptor int

func (d descriptor) Write(p []byte) (n int, err error) {
	for n < len(p) {
		more, err := unix.Write(int(d), p[n:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return n, err
		}
		n += max(more, 0)
	}
	return n, nil
}

// link makes a hard link to a file of this tree. Finding it opens another
// folder, so ours is kept by a descriptor of its own.
func (u *unpacker) link(target string, dir int, base string) error {
	ours, err := unix.FcntlInt(uintptr(dir), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(ours)
	there, name, err := u.tree.at(target, false)
	if err != nil {
		return err
	}
	return u.again(ours, base, func() error { return unix.Linkat(there, name, ours, base, 0) })
}

// describe sets owner, mode, extended attributes and times, in this order: a
// new owner takes set-user-ID and capabilities away.
func (u *unpacker) describe(h *tar.Header, dir int, base string) error {
	if err := unix.Fchownat(dir, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(dir, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
		if err := attributes(h, dir, base); err != nil {
			return err
		}
	}
	times := [2]unix.Timespec{timespec(h.ModTime), timespec(h.ModTime)}
	if h.Typeflag == tar.TypeDir {
		u.times = append(u.times, folderTime{clean(h.Name), times})
		return nil
	}
	return unix.UtimesNanoAt(dir, base, times[:], unix.AT_SYMLINK_NOFOLLOW)
}

// finish sets the times of folders, which each entry in them had changed.
func (u *unpacker) finish() error {
	for _, f := range u.times {
		dir, base, err := u.tree.at(f.name, false)
		if err == nil {
			err = unix.UtimesNanoAt(dir, base, f.time[:], unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%.200q: set time: %w", f.name, err)
		}
	}
	return nil
}

func timespec(t time.Time) unix.Timespec { return unix.NsecToTimespec(max(t.UnixNano(), 0)) }

const attributePrefix = "SCHILY.xattr."

// attributes sets capabilities, and what the user may set where the file
// system takes it (tmpfs does since Linux 6.6). Others are the kernel's.
func attributes(h *tar.Header, dir int, base string) error {
	for record, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(record, attributePrefix)
		if !ok || name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", dir, base), name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) {
			return &os.PathError{Op: "set attribute", Path: name, Err: err}
		}
	}
	return nil
}
