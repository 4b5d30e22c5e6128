package volume

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/ignition"
	"holdfast/internal/input"
)

// An image on which a tool made a filesystem, with a file of 5000 bytes.
func imageOf(t *testing.T, commands ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("x", 5000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range commands {
		tool, _, _ := strings.Cut(line, " ")
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: run make test-tools", tool)
		}
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	return filepath.Join(dir, "image")
}

func TestFilesAreReadWithoutMounting(t *testing.T) {
	for kind, commands := range map[string][]string{
		"vfat":    {"truncate -s 2M image", "mkfs.fat -n IGNITION image", "mcopy -i image file ::file"},
		"iso9660": {"genisoimage -quiet -J -r -V IGNITION -o image file"},
	} {
		v, err := Probe(imageOf(t, commands...))
		if err != nil || v.Type != kind || v.Label != "IGNITION" {
			t.Fatalf("%s: found %+v, %v", kind, v, err)
		}
		if raw, err := v.ReadFile("/file", 5000); err != nil || len(raw) != 5000 {
			t.Errorf("%s: read %d bytes, %v", kind, len(raw), err)
		}
		if _, err := v.ReadFile("file", 4999); !errors.Is(err, input.ErrTooLarge) {
			t.Errorf("%s: got %v, want ErrTooLarge", kind, err)
		}
		if _, err := v.ReadFile("../file", 5000); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want ErrNotExist", kind, err)
		}
		f, err := Opener(ignition.Origin{Volume: v.Device})("/file")
		if err != nil || f.Close() != nil {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

func TestAVolumeThatIsNoneIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Probe(path)
	if err != nil || v.Type != "" {
		t.Fatalf("found %+v, %v", v, err)
	}
	if _, err := v.Open("file"); err == nil || err.Error() != "volume "+path+`: has "", want vfat, iso9660, udf, exfat or ext4` {
		t.Errorf("got %v", err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Probe(path); err == nil || err.Error() != path+": nothing is in it" {
		t.Errorf("got %v", err)
	}
}
