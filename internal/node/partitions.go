package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
)

const (
	rootWait = 10 * time.Second
	blockDir = "/sys/class/block"
)

// partitions are the paths of the two that make a verity root, and the name of
// their disk.
type partitions struct{ data, hash, disk string }

// awaitPartitions looks until the disk has appeared: drivers find their
// devices when their modules are inserted, but some take a moment.
func awaitPartitions(ctx context.Context, root [32]byte) (partitions, error) {
	ctx, cancel := context.WithTimeout(ctx, rootWait)
	defer cancel()
	for {
		p, err := findPartitions(root)
		if err == nil {
			return p, nil
		}
		select {
		case <-ctx.Done():
			return partitions{}, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// findPartitions looks for the GUIDs that the Discoverable Partitions
// Specification derives from a root hash: its first and its last 16 bytes.
func findPartitions(root [32]byte) (p partitions, err error) {
	disks, err := os.ReadDir(blockDir)
	if err != nil {
		return p, err
	}
	var skipped error
	for _, d := range disks {
		found, err := readDisk(d.Name())
		if err != nil {
			skipped = errors.Join(skipped, err)
			continue
		}
		p = partitions{found[guid.GUID(root[:16])], found[guid.GUID(root[16:])], d.Name()}
		if p.data != "" && p.hash != "" {
			return p, nil
		}
	}
	return p, errors.Join(fmt.Errorf("no disk has the partitions of root hash %x", root), skipped)
}

// readDisk maps the GUIDs of a disk's partitions to their devices. The kernel
// knows the partitions by number and start; their GUIDs are read from the
// table, since sysfs of Linux 6.1 does not show them.
func readDisk(name string) (map[guid.GUID]string, error) {
	dir := filepath.Join(blockDir, name)
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return nil, nil
	}
	sectors, err := readInt(filepath.Join(dir, "size"))
	if err != nil || sectors == 0 {
		return nil, err
	}
	f, err := os.Open("/dev/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	table, err := gpt.Read(f, sectors*gpt.SectorSize)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return matchPartitions(dir, table.Partitions)
}

func matchPartitions(dir string, entries []gpt.Entry) (map[guid.GUID]string, error) {
	starts, err := filepath.Glob(filepath.Join(dir, "*", "start"))
	if err != nil {
		return nil, err
	}
	devices := make(map[guid.GUID]string)
	for _, path := range starts {
		start, err := readInt(path)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e gpt.Entry) bool { return e.Start == start*gpt.SectorSize })
		if i >= 0 {
			devices[entries[i].GUID] = "/dev/" + filepath.Base(filepath.Dir(path))
		}
	}
	return devices, nil
}

func readInt(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
