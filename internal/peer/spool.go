package peer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// leftFree are the bytes of a disk that no stranger's blob takes.
const leftFree = 64 << 20

// errNoRoom says that a blob cannot be verified here before it is given out.
var errNoRoom = errors.New("the disk has no room for it")

// A spooled file grows while the disk has room: others write, too.
type spooled struct {
	*os.File
	unasked int64 // bytes that may be written before it looks again
}

func (s *spooled) Write(p []byte) (int, error) {
	if s.unasked -= int64(len(p)); s.unasked < 0 {
		if err := hasRoom(s.File, 0); err != nil {
			return 0, err
		}
		s.unasked = leftFree / 4
	}
	return s.File.Write(p)
}

// hasRoom says whether the disk that f is on can take size bytes more.
func hasRoom(f *os.File, size int64) error {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; free-leftFree < size {
		return fmt.Errorf("%w: %d bytes, %d are free", errNoRoom, size, free)
	}
	return nil
}

// spool makes a file for size bytes, that is gone when it is closed.
func spool(dir string, size int64) (*spooled, error) {
	f, err := os.CreateTemp(dir, ".peer-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Remove(f.Name()), hasRoom(f, size)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spooled{File: f}, nil
}
