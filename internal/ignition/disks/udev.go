package disks

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// runsUdev says whether somebody makes links in /dev/disk.
func runsUdev() bool {
	_, err := os.Stat("/run/udev/control")
	return err == nil
}

// hold keeps the partitions of a disk that was written where they are. When
// whoever wrote a disk closes it, udev has the kernel read its table again,
// which takes all partitions away for a moment; the kernel refuses that while
// one of them is open.
func (s *stage) hold(disk *device) {
	parts, _ := filepath.Glob(filepath.Join(disk.sys(), "*", "partition")) // of a good pattern
	for _, p := range parts {
		name := strings.ReplaceAll(filepath.Base(filepath.Dir(p)), "!", "/")
		if f, err := os.Open(filepath.Join("/dev", name)); err == nil {
			s.held[disk.number] = f
			return
		}
	}
}

// release lets go of a disk.
func (s *stage) release(number uint64) {
	if f, ok := s.held[number]; ok {
		f.Close()
		delete(s.held, number)
	}
}

// settle waits until udev has done what it does about all that was written, so
// that those who come next find the links they look for.
func (s *stage) settle(ctx context.Context, c types.Storage) {
	if !runsUdev() || len(c.Disks)+len(c.Raid)+len(c.Luks)+len(c.Filesystems) == 0 {
		return
	}
	wait := strconv.Itoa(int(s.Wait.Seconds()))
	if _, err := s.Exec(ctx, Command{Name: "udevadm", Args: []string{"settle", "--timeout=" + wait}}); err != nil {
		s.Log.Warn("udev may not be done with the disks", "error", err)
	}
}
