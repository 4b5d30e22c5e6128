package gpt

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"holdfast/internal/boot/guid"
)

func testDisk() Disk {
	root := bytes.Repeat([]byte("root"), 1<<19)
	copy(root[8192:], make([]byte, 300_000)) // a hole in the middle
	return Disk{
		GUID: guid.Must("11111111-2222-4333-8444-555555555555"),
		Partitions: []Partition{
			{Name: "esp", Type: TypeESP, GUID: guid.Must("a0000000-0000-4000-8000-000000000001"), Size: 3<<20 - 5, Content: strings.NewReader("fat")},
			{Name: "root", Type: TypeRootX86, GUID: guid.Must("a0000000-0000-4000-8000-000000000002"), Size: 2 << 20, Content: bytes.NewReader(root), Attributes: ReadOnly},
			{Name: "root-verity", Type: TypeVerityX86, GUID: guid.Must("a0000000-0000-4000-8000-000000000003"), Size: 4096},
		},
	}
}

func writeDisk(t *testing.T, d Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Write(f, d); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPartitionToolsAgree(t *testing.T) {
	path := writeDisk(t, testDisk())
	for _, c := range []struct {
		argv []string
		want []string
	}{
		{[]string{"sgdisk", "-v", path}, []string{"No problems found"}},
		{[]string{"sfdisk", "-d", path}, []string{
			"label-id: 11111111-2222-4333-8444-555555555555",
			`start=        2048, size=        6144, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=A0000000-0000-4000-8000-000000000001, name="esp"`,
			`start=        8192, size=        4096, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=A0000000-0000-4000-8000-000000000002, name="root", attrs="GUID:60"`,
			`start=       12288, size=        2048, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5`,
		}},
	} {
		if _, err := exec.LookPath(c.argv[0]); err != nil {
			t.Skipf("needs %s: apt install gdisk fdisk", c.argv[0])
		}
		out, err := exec.Command(c.argv[0], c.argv[1:]...).CombinedOutput()
		if err != nil {
			t.Errorf("%v: %v: %s", c.argv, err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: got\n%swant a line with %s", c.argv[0], out, want)
			}
		}
	}
}

func TestReadFindsWhatWasWritten(t *testing.T) {
	d := testDisk()
	b, err := os.ReadFile(writeDisk(t, d))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != d.Size() {
		t.Errorf("disk has %d bytes, Size says %d", len(b), d.Size())
	}
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{1, "esp", TypeESP, d.Partitions[0].GUID, 1 << 20, 3 << 20, 0},
		{2, "root", TypeRootX86, d.Partitions[1].GUID, 4 << 20, 2 << 20, ReadOnly},
		{3, "root-verity", TypeVerityX86, d.Partitions[2].GUID, 6 << 20, 1 << 20, 0},
	}
	if got.GUID != d.GUID || !reflect.DeepEqual(got.Partitions, want) {
		t.Errorf("got %v %+v, want %v %+v", got.GUID, got.Partitions, d.GUID, want)
	}
	root := bytes.Repeat([]byte("root"), 1<<19)
	copy(root[8192:], make([]byte, 300_000))
	if !bytes.Equal(b[4<<20:6<<20], root) {
		t.Error("root partition's content differs")
	}
}

// The digest is of what the first version of this writer made: images that
// were signed since then must come out again.
func TestImagesStayTheSame(t *testing.T) {
	b, err := os.ReadFile(writeDisk(t, testDisk()))
	if err != nil {
		t.Fatal(err)
	}
	const want = "ad32336ddb3618d8cfa239745351e98c338599aff18d9d59866064aa947df212"
	if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAlteredTableIsRefused(t *testing.T) {
	b, err := os.ReadFile(writeDisk(t, testDisk()))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{512, 512 + 16, 512 + 40, 1024 + 3, 1024 + 128 + 60} {
		c := bytes.Clone(b)
		c[at] ^= 0x20
		if _, err := Read(bytes.NewReader(c), int64(len(c))); err == nil {
			t.Errorf("byte %d altered: accepted", at)
		}
	}
}

func TestBadPartitionsAreRefused(t *testing.T) {
	for name, alter := range map[string]func(*Disk){
		"content too long": func(d *Disk) { d.Partitions[2].Content = bytes.NewReader(make([]byte, 5000)) },
		"same GUID":        func(d *Disk) { d.Partitions[1].GUID = d.Partitions[0].GUID },
		"no size":          func(d *Disk) { d.Partitions[0].Size = 0 },
		"long name":        func(d *Disk) { d.Partitions[0].Name = strings.Repeat("x", 37) },
	} {
		d := testDisk()
		alter(&d)
		f, _ := os.Create(filepath.Join(t.TempDir(), "d"))
		if err := Write(f, d); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// memory is a disk that grows.
type memory []byte

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if need := at + int64(len(b)) - int64(len(*m)); need > 0 {
		*m = append(*m, make([]byte, need)...)
	}
	return copy((*m)[at:], b), nil
}
