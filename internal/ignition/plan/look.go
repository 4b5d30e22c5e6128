package plan

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/ignition/probe"
)

// A place is a device of the config as it will be when its turn comes.
type place struct {
	found   probe.Found
	known   bool // an image has it
	created bool // the plan makes the partition
	empty   bool // inside of an array or volume that the plan makes
}

// look finds a device in the images: a disk, a partition by its number, its
// label or its GUID, or what a filesystem is called.
func (s *storage) look(dev string) (place, error) {
	if action, ok := s.inner[dev]; ok {
		return place{known: action == Create, empty: true}, nil
	}
	for name, f := range s.tables {
		if dev == name {
			return s.probe(name, gpt.Entry{}, false)
		}
		if f.After == nil {
			continue
		}
		for _, e := range f.After.Partitions {
			is, err := s.isCalled(dev, name, e)
			if err != nil {
				return place{}, err
			}
			if is {
				return s.probe(name, e, slices.Contains(f.Created, e.Number))
			}
		}
	}
	if _, ok := s.Disks[dev]; ok {
		return s.probe(dev, gpt.Entry{}, false)
	}
	return place{}, nil
}

func (s *storage) isCalled(dev, disk string, e gpt.Entry) (bool, error) {
	number := strconv.Itoa(e.Number)
	kind, name, _ := strings.Cut(strings.TrimPrefix(dev, "/dev/disk/by-"), "/")
	switch {
	case dev == partition(disk, number), dev == disk+"-part"+number:
		return true, nil
	case !strings.HasPrefix(dev, "/dev/disk/by-"):
		return false, nil
	case kind == "partlabel":
		return name == e.Name, nil
	case kind == "partuuid":
		return strings.EqualFold(name, e.GUID.String()), nil
	case kind != "label" && kind != "uuid":
		return false, nil
	}
	at, err := s.probe(disk, e, false)
	return kind == "label" && at.found.Label == name || kind == "uuid" && strings.EqualFold(at.found.UUID, name), err
}

func partition(disk, number string) string {
	if last := disk[len(disk)-1]; '0' <= last && last <= '9' {
		return disk + "p" + number
	}
	return disk + number
}

// probe looks at a whole disk for the zero entry.
func (s *storage) probe(disk string, e gpt.Entry, created bool) (place, error) {
	f, err := os.Open(s.Disks[disk])
	if err != nil {
		return place{}, err
	}
	defer f.Close()
	size := e.Size
	if size == 0 {
		if size, err = f.Seek(0, io.SeekEnd); err != nil {
			return place{}, fmt.Errorf("%s: %w", disk, err)
		}
	}
	found, err := probe.One(io.NewSectionReader(f, e.Start, size), size)
	if err != nil && !errors.Is(err, probe.ErrAmbivalent) {
		return place{}, err
	}
	return place{found: found, known: true, created: created}, nil
}
