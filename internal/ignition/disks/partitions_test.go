package disks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sys/unix"

	"holdfast/internal/boot/gpt"
	"holdfast/internal/boot/guid"
)

const (
	mib  = 1 << 20
	one  = "316f19f9-9e0f-431e-859e-ae6908dbe8ca"
	two  = "6050e8fc-1e31-473b-bcc0-714e32fcb09d"
	root = "3884DD41-8582-4404-B9A8-E9B84F2DF50E"
)

// A part is a partition in MiB; empty type and GUID are any.
type part struct {
	number      int
	label       string
	start, size int64
	kind, id    string
}

// base is upstream's base disk, with smaller partitions.
var base = []part{
	{1, "EFI-SYSTEM", 2, 8, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", ""},
	{6, "OEM", 10, 8, "0FC63DAF-8483-4772-8E79-3D69D8477DE4", ""},
	{9, "ROOT", 18, 8, root, ""},
}

func rootOf(start, size int64) []part {
	return []part{base[0], base[1], {9, "ROOT", start, size, root, ""}}
}

// Cases are those of upstream's tests under tests/positive/partitions and
// tests/negative/partitions, by the same names. A case without want is refused.
var cases = []struct {
	name   string
	size   int64 // of the disk, in MiB with one for each copy of the table
	in     []part
	config string // of the disk
	want   []part
	says   string
}{
	{"partition.create", 34, nil, `"partitions":[{"number":1,"sizeMiB":32,"label":"create-partition","typeGuid":"` + one + `","guid":"` + two + `"}]`,
		[]part{{1, "create-partition", 1, 32, one, two}}, ""},
	{"partition.create.withstartmib", 34, nil, `"partitions":[{"number":1,"startMiB":1,"sizeMiB":32,"label":"create-partition","typeGuid":"` + one + `","guid":"` + two + `"}]`,
		[]part{{1, "create-partition", 1, 32, one, two}}, ""},
	{"partition.create.wipetable", 98, []part{{1, "important-data", 1, 32, one, one}, {2, "ephemeral-data", 33, 64, two, one}},
		`"wipeTable":true,"partitions":[{"label":"important-data","number":1,"sizeMiB":32},{"label":"ephemeral-data","number":2,"sizeMiB":64,"guid":"` + two + `"}]`,
		[]part{{1, "important-data", 1, 32, "", ""}, {2, "ephemeral-data", 33, 64, "", two}}, ""},
	{"partition.append", 162, []part{{1, "important-data", 1, 32, one, one}, {2, "ephemeral-data", 33, 64, two, one}},
		`"partitions":[{"label":"additional","number":3,"sizeMiB":32},{"label":"additional2","number":4,"sizeMiB":32}]`,
		[]part{{1, "important-data", 1, 32, one, one}, {2, "ephemeral-data", 33, 64, two, one}, {3, "additional", 97, 32, "", ""}, {4, "additional2", 129, 32, "", ""}}, ""},
	{"partition.resizeroot", 91, base, `"partitions":[{"label":"ROOT","number":9,"sizeMiB":72,"typeGuid":"` + root + `","guid":"` + two + `","wipePartitionEntry":true}]`, rootOf(18, 72), ""},
	{"partition.resizeExistingPartition", 91, base, `"partitions":[{"label":"ROOT","number":9,"sizeMiB":72,"resize":true}]`, rootOf(18, 72), ""},
	{"partition.wipebadtable", 34, []part{{1, "deleteme", 1, 32, "", ""}}, `"wipeTable":true`, []part{}, ""},
	{"partition.create.startsize0", 34, nil, `"partitions":[{"label":"fills-disk","number":1,"startMiB":0,"sizeMiB":0,"typeGuid":"` + one + `"}]`, nil, ""},
	{"partition.create.numbersize0", 98, nil, `"partitions":[{"label":"uno","sizeMiB":32},{"label":"dos","sizeMiB":32},{"label":"tres","sizeMiB":32}]`,
		[]part{{1, "uno", 1, 32, "", ""}, {2, "dos", 33, 32, "", ""}, {3, "tres", 65, 32, "", ""}}, ""},
	{"partition.match.sizestart.unspecd", 60, base, `"partitions":[{"label":"ROOT","number":9,"typeGuid":"` + root + `"}]`, base, ""},
	{"partition.number0", 66, []part{{1, "foobar", 1, 32, one, two}}, `"partitions":[{"label":"newpart","sizeMiB":32},{"number":1,"label":"foobar"}]`,
		[]part{{1, "foobar", 1, 32, one, two}, {2, "newpart", 33, 32, "", ""}}, ""},
	{"partition.delete", 34, []part{{1, "deleteme", 1, 32, "", ""}}, `"partitions":[{"number":1,"shouldExist":false,"wipePartitionEntry":true}]`, []part{}, ""},
	{"partition.delete.all", 27, base, `"partitions":[{"number":1,"shouldExist":false,"wipePartitionEntry":true},{"number":2,"shouldExist":false,"wipePartitionEntry":true},{"number":6,"shouldExist":false,"wipePartitionEntry":true},{"number":9,"shouldExist":false,"wipePartitionEntry":true}]`, []part{}, ""},
	{"partitions.complex", 354, []part{{1, "p1", 1, 64, one, two}, {2, "dont-delete", 65, 32, two, one}, {3, "garbo-town", 97, 32, "", ""}, {4, "more-junk", 193, 32, "", ""}, {5, "dont-delete2", 225, 32, "", ""}},
		`"partitions":[{"label":"p1","number":1,"startMiB":1,"sizeMiB":32,"typeGuid":"` + one + `","wipePartitionEntry":true},{"label":"dont-delete","number":2,"sizeMiB":32},
		{"label":"new-biggest","number":3,"sizeMiB":0,"startMiB":0,"wipePartitionEntry":true},{"number":4,"shouldExist":false,"wipePartitionEntry":true},{"number":9,"shouldExist":false}]`,
		[]part{{1, "p1", 1, 32, one, ""}, {2, "dont-delete", 65, 32, two, one}, {3, "new-biggest", 97, 128, "", ""}, {5, "dont-delete2", 225, 32, "", ""}}, ""},
	{"partition.match.all", 27, base, `"partitions":[{"label":"EFI-SYSTEM","number":1,"startMiB":2,"sizeMiB":8,"typeGuid":"C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},{"label":"ROOT","number":9,"startMiB":18,"sizeMiB":8,"typeGuid":"` + root + `"}]`, base, ""},
	{"partition.match.all.withwipe", 27, base, `"partitions":[{"label":"OEM","number":6,"startMiB":10,"sizeMiB":8,"wipePartitionEntry":true},{"label":"ROOT","number":9,"startMiB":18,"sizeMiB":8,"wipePartitionEntry":true}]`, base, ""},
	{"parition.no-op", 27, base, ``, base, ""},
	{"partition.no-op.nonexistent", 27, base, `"partitions":[{"number":10,"shouldExist":false},{"number":999,"shouldExist":false}]`, base, ""},
	{"partition.match.recreate.delete.add", 130, []part{{1, "important-data", 1, 32, one, two}, {2, "ephemeral-data", 33, 32, two, one}, {3, "bunch-of-junk", 65, 64, two, one}},
		`"partitions":[{"label":"important-data","number":1,"startMiB":1,"sizeMiB":32},{"label":"ephemeral-data","number":2,"startMiB":33,"sizeMiB":64,"wipePartitionEntry":true},{"number":3,"shouldExist":false,"wipePartitionEntry":true},{"label":"even-more-data","number":4,"startMiB":97,"sizeMiB":32}]`,
		[]part{{1, "important-data", 1, 32, one, two}, {2, "ephemeral-data", 33, 64, "", ""}, {4, "even-more-data", 97, 32, "", ""}}, ""},
	{"partition.match.recreate", 130, []part{{1, "important-data", 1, 32, one, ""}, {2, "ephemeral-data", 33, 32, "", one}, {3, "bunch-of-junk", 65, 64, "", ""}},
		`"partitions":[{"label":"important-data","number":1,"startMiB":1,"sizeMiB":32,"wipePartitionEntry":true,"typeGuid":"` + two + `"},{"label":"ephemeral-data","number":2,"startMiB":33,"sizeMiB":32,"wipePartitionEntry":true,"guid":"` + two + `"},{"label":"even-more-data","number":3,"startMiB":65,"sizeMiB":32,"wipePartitionEntry":true}]`,
		[]part{{1, "important-data", 1, 32, two, ""}, {2, "ephemeral-data", 33, 32, "", two}, {3, "even-more-data", 65, 32, "", ""}}, ""},

	{"partition.delete.nowipe", 27, base, `"partitions":[{"number":9,"shouldExist":false}]`, nil, "partition 9 exists and should not"},
	{"partition.match.fail", 27, base, `"partitions":[{"number":9,"sizeMiB":2}]`, nil, "partition 9: has 8388608 bytes instead of 2097152"},
	{"partition.partialmatch.fail", 27, base, `"partitions":[{"number":1},{"number":9,"sizeMiB":2}]`, nil, "partition 9: has"},
	{"partition.partialmatch.fail.nonexistent", 27, base, `"partitions":[{"number":10,"shouldExist":false},{"number":9,"sizeMiB":2}]`, nil, "partition 9: has"},
	{"partition.resizePartition.mismatch.config", 91, base, `"partitions":[{"label":"ROOT","number":9,"sizeMiB":72,"startMiB":100,"resize":true}]`, nil, "not free"},
	{"partition.match.failstofill", 91, base, `"partitions":[{"number":9,"sizeMiB":0}]`, nil, "instead of"},
	{"partition.match.failstostart", 91, []part{base[0], base[1], {9, "ROOT", 26, 8, root, ""}}, `"partitions":[{"number":9,"startMiB":0}]`, nil, "starts at byte"},
	{"label differs", 27, base, `"partitions":[{"number":9,"label":"OTHER"}]`, nil, `label is "ROOT" instead of "OTHER"`},
	{"type differs", 27, base, `"partitions":[{"number":9,"typeGuid":"` + one + `"}]`, nil, "type is"},
	{"GUID differs", 27, base, `"partitions":[{"number":9,"guid":"` + one + `"}]`, nil, "GUID is"},
	{"too large", 27, base, `"partitions":[{"number":2,"sizeMiB":500}]`, nil, "are not free"},
	{"number too high", 27, base, `"partitions":[{"number":129,"sizeMiB":0}]`, nil, "numbers 1 to 128"},
}

// makeDisk is an image with the partitions, and bytes in each.
func makeDisk(t *testing.T, size int64, parts []part) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size * mib); err != nil {
		t.Fatal(err)
	}
	if parts == nil {
		return path
	}
	table, err := gpt.New(size*mib, 512, guid.GUID{1})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		e := gpt.Entry{Number: p.number, Name: p.label, Start: p.start * mib, Size: p.size * mib, GUID: guid.GUID{byte(p.number), 9}}
		if p.kind != "" {
			e.Type = guid.Must(p.kind)
		}
		if p.id != "" {
			e.GUID = guid.Must(p.id)
		}
		if _, err := table.Create(e); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("data of "+p.label), p.start*mib); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Save(f); err != nil {
		t.Fatal(err)
	}
	return path
}

func newStage(t *testing.T) *stage {
	return New(Config{Aliases: filepath.Join(t.TempDir(), "aliases"), Wait: 50e6}).(*stage)
}

func storage(t *testing.T, format string, args ...any) types.Config {
	t.Helper()
	var c types.Config
	if err := json.Unmarshal(fmt.Appendf(nil, format, args...), &c.Storage); err != nil {
		t.Fatal(err)
	}
	return c
}

func diskConfig(t *testing.T, path, rest string) types.Config {
	if rest != "" {
		rest = "," + rest
	}
	return storage(t, `{"disks":[{"device":%q%s}]}`, path, rest)
}

func TestPartitionsAreAsUpstreamMakesThem(t *testing.T) {
	for _, c := range cases {
		if c.says != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			path := makeDisk(t, c.size, c.in)
			run := func() error { return newStage(t).Run(context.Background(), diskConfig(t, path, c.config)) }
			if err := run(); err != nil {
				t.Fatal(err)
			}
			if c.want == nil {
				c.want = []part{{1, "fills-disk", 1, 0, "", ""}}
			}
			first := checkDisk(t, path, c.want)
			if err := run(); err != nil {
				t.Fatalf("again: %v", err)
			}
			if again := checkDisk(t, path, c.want); !strings.Contains(c.config, "wipeTable") && !bytes.Equal(first, again) {
				t.Error("a second run changed the disk")
			}
		})
	}
}

// checkDisk compares the table, has sgdisk look, and gives the first sectors.
func checkDisk(t *testing.T, path string, want []part) []byte {
	t.Helper()
	d, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	table, err := gpt.Load(d, d.size, d.sector)
	if errors.Is(err, gpt.ErrNoTable) && len(want) == 0 {
		return nil
	}
	if err != nil || table.Damage.Err() != nil {
		t.Fatal(err, table.Damage)
	}
	var got, wished strings.Builder
	for i, e := range table.Partitions {
		p := part{e.Number, e.Name, e.Start / mib, e.Size / mib, "", ""}
		if i < len(want) && want[i].kind != "" {
			p.kind, want[i].kind = e.Type.String(), strings.ToLower(want[i].kind)
		}
		if i < len(want) && want[i].id != "" {
			p.id = e.GUID.String()
		}
		if i < len(want) && want[i].size == 0 { // to the end: not whole MiB
			p.size = 0
			if e.End() != d.size-33*512 {
				t.Errorf("ends at %d, want all of %d", e.End(), d.size)
			}
		}
		fmt.Fprintf(&got, "%v\n", p)
	}
	for _, p := range want {
		fmt.Fprintf(&wished, "%v\n", p)
	}
	if got.String() != wished.String() {
		t.Errorf("got\n%swant\n%s", &got, &wished)
	}
	if _, err := exec.LookPath("sgdisk"); err != nil {
		t.Skip("needs sgdisk: apt-get install gdisk")
	}
	if out, err := exec.Command("sgdisk", "-v", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v: %s", err, out)
	}
	front := make([]byte, mib)
	_, _ = d.ReadAt(front, 0)
	return front
}

// Whatever is refused leaves every byte of the disk as it was.
func TestWhatIsRefusedChangesNoByte(t *testing.T) {
	for _, c := range cases {
		if c.says == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			path := makeDisk(t, c.size, c.in)
			refuses(t, path, diskConfig(t, path, c.config), c.says)
		})
	}
	t.Run("a filesystem on the whole disk", func(t *testing.T) {
		path := makeDisk(t, 16, nil)
		mkfs(t, "mkfs.ext4", "-q", "-F", path)
		refuses(t, path, diskConfig(t, path, `"partitions":[{"number":1}]`), "but ext4 on the whole disk")
	})
	t.Run("an MBR with partitions", func(t *testing.T) {
		path := makeDisk(t, 16, nil)
		mbr := make([]byte, 512)
		mbr[450], mbr[454], mbr[458], mbr[510], mbr[511] = 0x83, 1, 9, 0x55, 0xaa
		overwrite(t, path, 0, mbr)
		refuses(t, path, diskConfig(t, path, `"partitions":[{"number":1}]`), "an MBR with partitions of its own")
	})
	t.Run("remains of a table", func(t *testing.T) {
		path := makeDisk(t, 40, base)
		overwrite(t, path, 0, make([]byte, 1536))
		refuses(t, path, diskConfig(t, path, `"partitions":[{"number":1}]`), "damaged")
	})
	t.Run("wipeTable and partitions that do not fit", func(t *testing.T) {
		path := makeDisk(t, 40, base)
		refuses(t, path, diskConfig(t, path, `"wipeTable":true,"partitions":[{"number":1,"sizeMiB":500}]`), "not free")
	})
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func mkfs(t *testing.T, tool string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: run make test-tools", tool)
	}
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", tool, err, out)
	}
}

func refuses(t *testing.T, path string, c types.Config, says string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	err = newStage(t).Run(context.Background(), c)
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want an error with %q", err, says)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("bytes of the disk changed")
	}
}

// A cut after the backup leaves a primary that is neither: the next run uses
// the backup, and puts the primary right.
func TestARunAfterAPowerCutRepairsTheTable(t *testing.T) {
	path := makeDisk(t, 27, base)
	overwrite(t, path, 1024+64, []byte("torn"))
	if err := newStage(t).Run(context.Background(), diskConfig(t, path, `"partitions":[{"number":9,"label":"ROOT"}]`)); err != nil {
		t.Fatal(err)
	}
	checkDisk(t, path, base)
}

// Who closes a disk that was open for writing has udev look at it anew, which
// takes its partitions away for a moment.
func TestADiskThatIsAsItShouldBeIsNotOpenForWriting(t *testing.T) {
	path := makeDisk(t, 27, base)
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, path, unix.IN_CLOSE_WRITE); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		label string
		wrote bool
	}{{"ROOT", false}, {"OTHER", true}, {"OTHER", false}} {
		config := `"partitions":[{"number":9,"label":"` + c.label + `","wipePartitionEntry":true}]`
		if err := newStage(t).Run(context.Background(), diskConfig(t, path, config)); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Read(watch, make([]byte, 4096))
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
		if wrote := n > 0; wrote != c.wrote {
			t.Errorf("label %s: open for writing: %v, want %v", c.label, wrote, c.wrote)
		}
	}
}

func TestAnAbsentDeviceIsNamed(t *testing.T) {
	err := newStage(t).Run(context.Background(), storage(t, `{"disks":[{"device":"/dev/nowhere"}]}`))
	if !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "$.storage.disks[0]: /dev/nowhere") {
		t.Errorf("got %v", err)
	}
}
