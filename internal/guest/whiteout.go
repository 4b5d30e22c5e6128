package guest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Names that take away what lower layers hold: image-spec 1.1, "Whiteouts".
const (
	whiteout = ".wh."
	reserved = whiteout + whiteout // of one storage driver's, save the next
	opaque   = reserved + ".opq"
)

// whiteout applies such a name. What is not there needs no taking away.
func (u *unpacker) whiteout(name string) error {
	dir, base, err := u.tree.at(name, false)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case base == opaque:
		return u.opaque(dir, path.Dir(name))
	case strings.HasPrefix(base, reserved):
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteout)
	if hidden == "" || hidden == "." || hidden == ".." {
		return fmt.Errorf("whiteout of %q", hidden)
	}
	return u.tree.remove(dir, hidden)
}

// opaque takes away all that a folder holds from the layers below this one.
func (u *unpacker) opaque(dir int, name string) error {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d", dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if u.made[path.Join(name, e.Name())] {
			continue
		}
		if err := u.tree.remove(dir, e.Name()); err != nil {
			return err
		}
	}
	return nil
}
