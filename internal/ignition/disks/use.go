package disks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// use is who holds a disk now.
type use struct {
	whole      bool
	partitions map[int]bool
}

func (u use) any() bool { return u.whole || len(u.partitions) > 0 }

// usage looks for mounts, swap, and devices stacked upon a disk or one of its
// partitions.
func usage(d *device) (use, error) {
	u := use{partitions: map[int]bool{}}
	if !d.block {
		return u, nil
	}
	mounted, err := mountedDevices()
	if err != nil {
		return u, err
	}
	sys := d.sys()
	_, err = os.Stat(filepath.Join(sys, "dm")) // holders of a mapped device are its partitions
	mapped := err == nil
	u.whole = mounted[d.number] || !mapped && held(sys)
	parts, err := filepath.Glob(filepath.Join(sys, "*", "partition"))
	if err != nil {
		return u, err
	}
	for _, p := range parts {
		number, dev, err := partitionOf(filepath.Dir(p))
		if err != nil {
			return u, err
		}
		if mounted[dev] || held(filepath.Dir(p)) {
			u.partitions[number] = true
		}
	}
	return u, nil
}

func held(sys string) bool {
	holders, _ := os.ReadDir(filepath.Join(sys, "holders"))
	return len(holders) > 0
}

func partitionOf(sys string) (number int, dev uint64, err error) {
	raw, err := os.ReadFile(filepath.Join(sys, "partition"))
	if err != nil {
		return 0, 0, err
	}
	if number, err = strconv.Atoi(strings.TrimSpace(string(raw))); err != nil {
		return 0, 0, err
	}
	raw, err = os.ReadFile(filepath.Join(sys, "dev"))
	if err != nil {
		return 0, 0, err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(raw), "%d:%d", &major, &minor); err != nil {
		return 0, 0, err
	}
	return number, unix.Mkdev(major, minor), nil
}

// mountedDevices are those of mounts and of swap: the first word of a line.
func mountedDevices() (map[uint64]bool, error) {
	found := map[uint64]bool{}
	for _, list := range []string{"/proc/self/mounts", "/proc/swaps"} {
		raw, err := os.ReadFile(list)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			path, _, _ := strings.Cut(line, " ")
			var stat unix.Stat_t
			if strings.HasPrefix(path, "/") && unix.Stat(path, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFBLK {
				found[stat.Rdev] = true
			}
		}
	}
	return found, nil
}
