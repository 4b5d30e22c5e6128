package fat

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func volumeOf(size int64, uki []byte) Volume {
	files := []File{{Path: "EFI/BOOT/BOOTX64.EFI", Size: int64(len(uki)), Content: bytes.NewReader(uki)},
		{Path: "empty.txt"}, long("loader/credentials/evil.cred"), long("loader/credentials/evil.credential"),
		long("loader/" + strings.Repeat("thirteen char", 19) + "thirteen")}
	for i := range 200 { // more than one cluster of entries
		s := fmt.Sprint(i)
		files = append(files, File{Path: "many/f" + s, Size: int64(len(s)), Content: strings.NewReader(s)})
	}
	return Volume{Label: "HOLDFAST", ID: 0x1234abcd, Time: time.Date(2024, 5, 6, 7, 8, 10, 0, time.UTC), Size: size, Files: files}
}

func long(path string) File {
	return File{Path: path, Size: int64(len(path)), Content: strings.NewReader(path)}
}

func image(t *testing.T, v Volume) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFsckAndMtoolsAgree(t *testing.T) {
	for _, tool := range []string{"fsck.fat", "mcopy", "mdir"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: apt install dosfstools mtools", tool)
		}
	}
	uki := bytes.Repeat([]byte("0123456789abcdef"), 300_001)
	for _, size := range []int64{0, 16 << 20, 33 << 20, 257 << 20} {
		b := image(t, volumeOf(size, uki))
		if size > 0 && int64(len(b)) != size {
			t.Errorf("image has %d bytes, want %d", len(b), size)
		}
		if want, _ := volumeOf(size, uki).ImageSize(); want != int64(len(b)) {
			t.Errorf("image has %d bytes, ImageSize says %d", len(b), want)
		}
		checkImage(t, b, uki)
	}
}

func checkImage(t *testing.T, b, uki []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "esp")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) string {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = []string{"TZ=UTC", "PATH=" + os.Getenv("PATH"), "MTOOLS_SKIP_CHECK=0"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%d bytes: %v: %v: %s", len(b), argv, err, out)
		}
		return string(out)
	}
	run("fsck.fat", "-n", path)
	if got := run("mcopy", "-i", path, "::EFI/BOOT/BOOTX64.EFI", "-"); got != string(uki) {
		t.Errorf("%d bytes: the file reads back differently", len(b))
	}
	for _, f := range volumeOf(0, uki).Files[2:5] {
		if got := run("mcopy", "-i", path, "::"+f.Path, "-"); got != f.Path {
			t.Errorf("%s: got %q", f.Path, got)
		}
	}
	if got := run("mcopy", "-i", path, "::MANY/F199", "-"); got != "199" {
		t.Errorf("F199: got %q", got)
	}
	if got := run("mdir", "-i", path, "::EFI/BOOT"); !strings.Contains(got, "BOOTX64  EFI   4800016 2024-05-06   7:08") ||
		!strings.Contains(got, "Volume in drive : is HOLDFAST") || !strings.Contains(got, "1234-ABCD") {
		t.Errorf("mdir: %s", got)
	}
}

func TestSameFilesSameBytes(t *testing.T) {
	uki := []byte("uki")
	if !bytes.Equal(image(t, volumeOf(0, uki)), image(t, volumeOf(0, uki))) {
		t.Error("images differ")
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	var many []File
	for i := range 511 {
		many = append(many, File{Path: fmt.Sprint(i)})
	}
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	big := File{Path: "a", Size: 3 << 20, Content: bytes.NewReader(make([]byte, 3<<20))}
	for name, v := range map[string]Volume{
		"too small for the file": {Time: at, Size: 3 << 20, Files: []File{big}},
		"too small for FAT16":    {Time: at, Size: 1 << 20},
		"hostile name":           {Time: at, Files: []File{{Path: "loader/a:b.conf"}}},
		"empty name":             {Time: at, Files: []File{{Path: "loader//x"}}},
		"dots":                   {Time: at, Files: []File{{Path: "../x"}}},
		"name of 256":            {Time: at, Files: []File{{Path: strings.Repeat("a", 256)}}},
		"long name twice":        {Time: at, Files: []File{{Path: "holdfast.conf"}, {Path: "HoldFast.conf"}}},
		"twice":                  {Time: at, Files: []File{{Path: "a"}, {Path: "A"}}},
		"many in the root":       {Time: at, Files: many},
		"before 1980":            {},
		"short content":          {Time: at, Files: []File{{Path: "a", Size: 5, Content: strings.NewReader("x")}}},
	} {
		if err := Write(&bytes.Buffer{}, v); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			t.Log(err)
		}
	}
}
