package plan

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/probe"
)

// A storage plans what becomes of disks, and remembers it for what lies on them.
type storage struct {
	Config
	out    *Plan
	tables map[string]disks.Foreseen // by the config's name of the disk
	inner  map[string]Action         // devices inside of arrays and volumes
}

func newStorage(c Config, p *Plan) *storage {
	return &storage{Config: c, out: p, tables: map[string]disks.Foreseen{}, inner: map[string]Action{}}
}

func (s *storage) plan(c types.Config) {
	for i, d := range c.Storage.Disks {
		s.disk(d, fmt.Sprintf("$.storage.disks[%d]", i))
	}
	s.others()
	for i, r := range c.Storage.Raid {
		s.array(r, fmt.Sprintf("$.storage.raid[%d]", i))
	}
	for i, l := range c.Storage.Luks {
		s.volume(l, fmt.Sprintf("$.storage.luks[%d]", i))
	}
	for i, f := range c.Storage.Filesystems {
		s.filesystem(f, fmt.Sprintf("$.storage.filesystems[%d]", i))
	}
}

func (s *storage) add(a Action, kind, name, field, why string) {
	s.out.add(Change{a, kind, name, field, why})
}

const noImage = "no image of this device was given"

func (s *storage) disk(d types.Disk, field string) {
	path, ok := s.Disks[d.Device]
	if !ok {
		s.add(Unknown, "table", d.Device, field, noImage)
		return
	}
	f, err := disks.Foresee(path, d, s.Log)
	if err != nil {
		s.out.refuse("table", d.Device, field, err)
		return
	}
	s.tables[d.Device] = f
	switch {
	case f.Wiped && f.After == nil:
		s.add(Delete, "table", d.Device, field, "wipeTable is set")
	case f.Wiped:
		s.add(Update, "table", d.Device, field, "wipeTable is set: a new one takes its place")
	case f.Before == nil && f.After != nil:
		s.add(Create, "table", d.Device, field, "")
	case f.Before != nil && f.Before.Damage.Err() != nil:
		s.add(Update, "table", d.Device, field, "it is repaired: "+f.Before.Damage.Err().Error())
	}
	s.partitions(d, f, field)
}

// others are disks that only what lies on them is looked at.
func (s *storage) others() {
	for name, path := range s.Disks {
		if _, ok := s.tables[name]; ok {
			continue
		}
		if f, err := disks.Foresee(path, types.Disk{Device: name}, s.Log); err == nil {
			s.tables[name] = f
		}
	}
}

func (s *storage) partitions(d types.Disk, f disks.Foreseen, field string) {
	name := func(e gpt.Entry) string {
		if e.Name == "" {
			return fmt.Sprintf("%s %d", d.Device, e.Number)
		}
		return fmt.Sprintf("%s %d %q", d.Device, e.Number, e.Name)
	}
	var before, after gpt.Table
	if f.Before != nil {
		before = *f.Before
	}
	if f.After != nil {
		after = *f.After
	}
	for _, e := range before.Partitions {
		if _, stays := after.Lookup(e.Number); !stays {
			s.add(Delete, "partition", name(e), fieldOf(d, e, field), "")
		}
	}
	for _, e := range after.Partitions {
		old, was := before.Lookup(e.Number)
		action, why := become(old, e, was)
		s.add(action, "partition", name(e), fieldOf(d, e, field), why)
	}
}

func become(old, e gpt.Entry, was bool) (Action, string) {
	place := fmt.Sprintf("%d MiB at %d MiB", e.Size>>20, e.Start>>20)
	switch {
	case !was:
		return Create, place
	case old == e:
		return Keep, ""
	case old.GUID == e.GUID && old.Start == e.Start && old.Size != e.Size:
		return Resize, fmt.Sprintf("from %d to %d MiB", old.Size>>20, e.Size>>20)
	}
	return Update, "deleted and made anew: " + place
}

// fieldOf finds a partition in the config by its number, or else by its label.
func fieldOf(d types.Disk, e gpt.Entry, field string) string {
	byNumber := func(p types.Partition) bool { return p.Number == e.Number }
	byLabel := func(p types.Partition) bool { return p.Number == 0 && p.Label != nil && *p.Label == e.Name }
	for _, is := range []func(types.Partition) bool{byNumber, byLabel} {
		if i := slices.IndexFunc(d.Partitions, is); i >= 0 {
			return fmt.Sprintf("%s.partitions[%d]", field, i)
		}
	}
	return field
}

func (s *storage) array(r types.Raid, field string) {
	device := r.Name
	if !filepath.IsAbs(device) {
		device = "/dev/md/" + device
	}
	s.inner[device] = Unknown
	for _, d := range r.Devices {
		if l, err := s.look(string(d)); err != nil || !l.known {
			s.add(Unknown, "array", r.Name, field, noImage)
			return
		}
	}
	n, err := disks.Members(r, func(dev string) (probe.Found, bool, error) {
		l, err := s.look(dev)
		return l.found, l.created, err
	})
	switch {
	case err != nil:
		s.out.refuse("array", r.Name, field, err)
	case n == len(r.Devices):
		s.add(Keep, "array", r.Name, field, "")
	default:
		s.inner[device] = Create
		s.add(Create, "array", r.Name, field, "")
	}
}

func (s *storage) volume(l types.Luks, field string) {
	inside := []string{"/dev/mapper/" + l.Name, "/dev/disk/by-id/dm-name-" + l.Name}
	for _, dev := range inside {
		s.inner[dev] = Unknown
	}
	if l.Device == nil {
		return
	}
	at, err := s.look(*l.Device)
	if err != nil || !at.known {
		s.add(Unknown, "volume", l.Name, field, why(err, noImage))
		return
	}
	kept, err := false, error(nil)
	if !at.empty {
		kept, err = disks.KeepsVolume(l, at.found)
	}
	switch {
	case err != nil:
		s.out.refuse("volume", l.Name, field, err)
		return
	case kept:
		s.add(Keep, "volume", l.Name, field, "as far as its label and UUID tell")
		return
	}
	for _, dev := range inside {
		s.inner[dev] = Create
	}
	s.made("volume", l.Name, field, at)
}

func (s *storage) filesystem(f types.Filesystem, field string) {
	if f.Format == nil {
		return
	}
	at, err := s.look(f.Device)
	if err != nil || !at.known {
		s.add(Unknown, "filesystem", f.Device, field, why(err, noImage))
		return
	}
	kept, err := disks.KeepsFilesystem(f, at.found)
	switch {
	case err != nil && !at.empty:
		s.out.refuse("filesystem", f.Device, field, err)
	case kept && !at.empty:
		s.add(Keep, "filesystem", f.Device, field, at.found.Type+" is used again")
	default:
		s.made("filesystem", f.Device, field, at)
	}
}

// made tells what is lost where something was.
func (s *storage) made(kind, name, field string, at place) {
	if at.found.Type != "" {
		s.add(Update, kind, name, field, "wipes "+at.found.Type)
		return
	}
	s.add(Create, kind, name, field, "")
}

func why(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}
