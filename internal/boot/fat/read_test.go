package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func contents(raw []byte) (map[string]string, error) {
	files := map[string]string{}
	err := Walk(bytes.NewReader(raw), func(name string, size int64, content io.Reader) error {
		data, err := io.ReadAll(content)
		if int64(len(data)) != size && err == nil {
			err = fmt.Errorf("%s: %d bytes, its entry says %d", name, len(data), size)
		}
		files[name] = string(data)
		return err
	})
	return files, err
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	uki := bytes.Repeat([]byte("0123456789abcdef"), 100_001)
	for _, size := range []int64{16 << 20, 257 << 20} {
		files, err := contents(image(t, volumeOf(size, uki)))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 205 || files["LOADER/credentials/evil.cred"] != "loader/credentials/evil.cred" || files["EFI/BOOT/BOOTX64.EFI"] != string(uki) || files["MANY/F199"] != "199" {
			t.Errorf("%d bytes: got %d files", size, len(files))
		}
	}
}

// The volume is dosfstools', the files are mtools'.
func TestOthersVolumesAreRead(t *testing.T) {
	for _, tool := range []string{"mkfs.fat", "mcopy", "mmd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: apt-get install dosfstools mtools", tool)
		}
	}
	for _, kind := range []string{"12", "16", "32"} {
		dir := t.TempDir()
		disk, one := filepath.Join(dir, "disk"), filepath.Join(dir, "a credential of some length.cred")
		if err := os.WriteFile(one, bytes.Repeat([]byte("x"), 70_000), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, argv := range [][]string{
			{"truncate", "-s", map[string]string{"12": "1M", "16": "20M", "32": "64M"}[kind], disk}, {"mkfs.fat", "-s", "1", "-F", kind, disk},
			{"mmd", "-i", disk, "::loader"}, {"mcopy", "-i", disk, one, "::loader/"}, {"mcopy", "-i", disk, one, "::SHORT.TXT"},
			{"mdel", "-i", disk, "::SHORT.TXT"}, {"mcopy", "-i", disk, one, "::S2.TXT"},
		} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", argv, err, out)
			}
		}
		raw, err := os.ReadFile(disk)
		if err != nil {
			t.Fatal(err)
		}
		files, err := contents(raw)
		if err != nil || len(files) != 2 || len(files["loader/a credential of some length.cred"]) != 70_000 || len(files["S2.TXT"]) != 70_000 {
			t.Errorf("FAT%s: got %q and %v", kind, slices.Sorted(maps.Keys(files)), err)
		}
		if _, size, err := Open(bytes.NewReader(raw), "LOADER/a credential of SOME length.cred"); err != nil || size != 70_000 {
			t.Errorf("FAT%s: opened %d bytes, %v", kind, size, err)
		}
		if _, _, err := Open(bytes.NewReader(raw), "absent"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("FAT%s: got %v, want ErrNotExist", kind, err)
		}
	}
}

// A volume of anybody's is read to its end, or is an error of the format.
//
//fuzz:parser read.go
func FuzzWalk(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, volumeOf(4<<20, []byte("uki"))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes()[:200<<10])
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := 0
		err := Walk(bytes.NewReader(raw), func(string, int64, io.Reader) error {
			if files++; files > 100 {
				return io.ErrShortBuffer
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrFormat) && err != io.ErrShortBuffer && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
	})
}
