package gpt

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/boot/guid"
)

func sgdisk(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("needs sgdisk: apt-get install gdisk")
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	return string(out), err
}

func blank(t *testing.T, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f
}

func newID(r *rand.Rand) guid.GUID {
	var g guid.GUID
	for i := range g {
		g[i] = byte(r.Uint32())
	}
	return g
}

// A step is one edit, in our words and in sgdisk's.
type step struct {
	remove int
	add    Entry
}

func randomStep(r *rand.Rand, t *Table) step {
	if n := len(t.Partitions); n > 0 && r.IntN(4) == 0 {
		return step{remove: t.Partitions[r.IntN(n)].Number}
	}
	s := step{add: Entry{Number: r.IntN(12), GUID: newID(r), Type: newID(r), Name: []string{"", "a b", "ünï☂"}[r.IntN(3)]}}
	sector := t.SectorSize()
	switch r.IntN(4) {
	case 0: // aligned, in MiB
		s.add.Start = int64(r.IntN(40)) << 20
	case 1: // anywhere
		s.add.Start = int64(r.IntN(40<<20)) / sector * sector
	}
	switch r.IntN(3) {
	case 0:
		s.add.Size = int64(r.IntN(10)) << 20
	case 1:
		s.add.Size = int64(r.IntN(10<<20)) / sector * sector
	}
	return s
}

func (s step) sgdisk(sector int64) []string {
	if s.remove != 0 {
		return []string{fmt.Sprintf("--delete=%d", s.remove)}
	}
	a := s.add
	args := []string{
		fmt.Sprintf("--new=%d:%d:+%d", a.Number, a.Start/sector, a.Size/sector),
		fmt.Sprintf("--typecode=%d:%v", a.Number, a.Type), fmt.Sprintf("--partition-guid=%d:%v", a.Number, a.GUID)}
	if a.Name != "" {
		args = append(args, fmt.Sprintf("--change-name=%d:%s", a.Number, a.Name))
	}
	return args
}

func (s step) ours(t *Table) error {
	if s.remove != 0 {
		return t.Delete(s.remove)
	}
	_, err := t.Create(s.add)
	return err
}

// sgdisk is asked for the same edits on a disk of its own: both refuse the
// same, place alike, and sgdisk finds no problem in what we wrote. It sleeps
// for a second whenever it writes, so edits go to it by the half dozen.
func TestEditsAreThoseOfSgdisk(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 6))
			size := int64(48<<20) + int64(seed)*512*7
			ours, theirs := blank(t, size), blank(t, size)
			table, err := New(size, SectorSize, newID(r))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(table.Save(ours), table.Save(theirs)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				table = followSgdisk(t, r, table, ours, theirs)
			}
		})
	}
}

func followSgdisk(t *testing.T, r *rand.Rand, table *Table, ours, theirs *os.File) *Table {
	var args []string
	for range 7 {
		s := randomStep(r, table)
		words := append(slices.Clone(args), s.sgdisk(table.SectorSize())...)
		if err := s.ours(table); err == nil {
			args = words
		} else if out, theirErr := sgdisk(t, append(append([]string{"--pretend"}, words...), theirs.Name())...); theirErr == nil {
			t.Fatalf("%v: got %v, sgdisk says: %s", words, err, out)
		}
	}
	if out, err := sgdisk(t, append(args, theirs.Name())...); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	if err := table.Save(ours); err != nil {
		t.Fatal(err)
	}
	if out, err := sgdisk(t, "-v", ours.Name()); err != nil || !strings.Contains(out, "No problems found") {
		t.Fatalf("%v: sgdisk -v: %v: %s", args, err, out)
	}
	got, want := load(t, ours), load(t, theirs)
	if !reflect.DeepEqual(got.Partitions, want.Partitions) || got.GUID != want.GUID || got.disk != want.disk || got.Damage != want.Damage {
		t.Fatalf("%v:\ngot         %+v\nsgdisk has %+v", args, got, want)
	}
	return got
}

func load(t *testing.T, f *os.File) *Table {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := Load(f, info.Size(), SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// Both copies are looked at, and which one is damaged is told.
func TestEitherCopyIsEnough(t *testing.T) {
	f := saved(t)
	whole, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(whole))
	want, err := Load(f, size, SectorSize)
	if err != nil || want.Damage.Err() != nil {
		t.Fatal(err, want.Damage)
	}
	for _, c := range []struct {
		at   int64
		says string
	}{{512 + 60, "primary table"}, {1024 + 5, "primary table"}, {size - 512, "backup table"}, {size - 512*20, ""}, {size - 512*33, "backup table"}, {510, "protective MBR"}} {
		b := bytes.Clone(whole)
		b[c.at] ^= 0xff
		got, err := Load(bytes.NewReader(b), size, SectorSize)
		if err != nil {
			t.Fatalf("byte %d: %v", c.at, err)
		}
		if !reflect.DeepEqual(got.Partitions, want.Partitions) {
			t.Errorf("byte %d: got %+v, want %+v", c.at, got.Partitions, want.Partitions)
		}
		if err := got.Damage.Err(); c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("byte %d: got damage %v, want that of the %s", c.at, err, c.says)
		}
		if err := got.Save(f); err != nil {
			t.Fatal(err)
		}
		if repaired, _ := os.ReadFile(f.Name()); !bytes.Equal(repaired, whole) {
			t.Errorf("byte %d: saving did not repair the disk", c.at)
		}
	}
}

// saved is a disk with two partitions.
func saved(t *testing.T) *os.File {
	f := blank(t, 32<<20)
	table, err := New(32<<20, SectorSize, guid.GUID{7})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := table.Create(Entry{GUID: guid.GUID{byte(i + 1)}, Size: 5 << 20, Name: fmt.Sprint("part", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Save(f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDisksWithoutATableAreToldApart(t *testing.T) {
	dos := make([]byte, 8<<20)
	copy(dos[446:], []byte{0x80, 1, 1, 0, 0x83, 0, 0, 0, 1})
	dos[510], dos[511] = 0x55, 0xaa
	remains, err := os.ReadFile(saved(t).Name())
	if err != nil {
		t.Fatal(err)
	}
	clear(remains[:1536])
	for _, c := range []struct {
		disk []byte
		want error
	}{{make([]byte, 8<<20), ErrNoTable}, {dos, ErrOtherTable}, {remains, ErrDamaged}} {
		if _, err := Load(bytes.NewReader(c.disk), int64(len(c.disk)), SectorSize); !errors.Is(err, c.want) {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
}

// cut fails at the n-th write, as a power cut would.
type cut struct {
	Target
	left int
}

var errCut = errors.New("power cut")

func (c *cut) WriteAt(b []byte, at int64) (int, error) {
	if c.left--; c.left < 0 {
		n, _ := c.Target.WriteAt(b[:len(b)/2], at)
		return n, errCut
	}
	return c.Target.WriteAt(b, at)
}

// However far Save came, the disk has the old table or the new one.
func TestAPowerCutLeavesATable(t *testing.T) {
	for n := range 5 {
		f := saved(t)
		table, err := Load(f, 32<<20, SectorSize)
		if err != nil {
			t.Fatal(err)
		}
		before := table.Clone()
		if err := table.Delete(1); err != nil {
			t.Fatal(err)
		}
		if err := table.Save(&cut{f, n}); !errors.Is(err, errCut) {
			t.Fatalf("write %d: got %v", n, err)
		}
		got, err := Load(f, 32<<20, SectorSize)
		if err != nil {
			t.Fatalf("cut at write %d: %v", n, err)
		}
		if !reflect.DeepEqual(got.Partitions, before.Partitions) && !reflect.DeepEqual(got.Partitions, table.Partitions) {
			t.Errorf("cut at write %d: got %+v", n, got.Partitions)
		}
	}
}

func TestABackupMovesWithTheEndOfAGrownDisk(t *testing.T) {
	f := saved(t)
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	table, err := Load(f, 64<<20, SectorSize)
	if err != nil || table.Damage.Err() != nil {
		t.Fatal(err, table.Damage)
	}
	if err := table.Save(f); err != nil {
		t.Fatal(err)
	}
	if out, err := sgdisk(t, "-v", f.Name()); err != nil || !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %v: %s", err, out)
	}
}

// What a hybrid has for others stays: boot code and its other partitions.
func TestHybridsStayHybrid(t *testing.T) {
	f := saved(t)
	if out, err := sgdisk(t, "-h", "1", f.Name()); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := f.WriteAt([]byte("boot code"), 0); err != nil {
		t.Fatal(err)
	}
	before := make([]byte, 512)
	_, _ = f.ReadAt(before, 0)
	table, err := Load(f, 32<<20, SectorSize)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := table.Create(Entry{GUID: guid.GUID{9}}); err != nil {
		t.Fatal(err)
	}
	if err := table.Save(f); err != nil {
		t.Fatal(err)
	}
	after := make([]byte, 512)
	if _, _ = f.ReadAt(after, 0); !bytes.Equal(before, after) {
		t.Errorf("first sector was\n%x and is\n%x", before, after)
	}
	if out, err := sgdisk(t, "-v", f.Name()); err != nil || !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %v: %s", err, out)
	}
}

func TestAWipedDiskIsAsSgdiskLeavesIt(t *testing.T) {
	ours, theirs := saved(t), saved(t)
	for _, f := range []*os.File{ours, theirs} { // bytes that are nobody's
		_, _ = f.WriteAt([]byte("data"), 1<<20)
		_, _ = f.WriteAt([]byte("data"), 32<<20-34*512-4)
	}
	if err := Wipe(ours, 32<<20, SectorSize); err != nil {
		t.Fatal(err)
	}
	if out, err := sgdisk(t, "--zap-all", theirs.Name()); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, _ := os.ReadFile(ours.Name())
	want, _ := os.ReadFile(theirs.Name())
	if !bytes.Equal(got, want) {
		t.Error("disks differ")
	}
}

// Disks with sectors of 4096 bytes, as sgdisk sees them on a loop device.
func TestLargeSectorsAreThoseOfSgdisk(t *testing.T) {
	f := blank(t, 64<<20)
	out, err := exec.Command("losetup", "-f", "--show", "--sector-size", "4096", f.Name()).CombinedOutput()
	if err != nil {
		t.Skipf("needs root and loop devices, as in a virtual machine: %s", out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", dev).Run() })
	disk, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	table, err := New(64<<20, 4096, guid.GUID{7})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{{Size: 5 << 20, Name: "one"}, {Start: 20<<20 + 4096, Size: 4096}, {}} {
		e.GUID = guid.GUID{byte(len(table.Partitions) + 1)}
		if _, err := table.Create(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Save(disk); err != nil {
		t.Fatal(err)
	}
	if out, err := sgdisk(t, "-v", dev); err != nil || !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %v: %s", err, out)
	}
	for _, e := range table.Partitions {
		out, err := sgdisk(t, "-i", fmt.Sprint(e.Number), dev)
		for _, want := range []string{fmt.Sprintf("First sector: %d (", e.Start/4096), fmt.Sprintf("Last sector: %d (", e.End()/4096-1)} {
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("partition %d: want %q, sgdisk -i: %v: %s", e.Number, want, err, out)
			}
		}
	}
}
