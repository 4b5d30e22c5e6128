package repro

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/deb/debtest"
	"holdfast/internal/image"
	"holdfast/internal/image/diff"
)

// compare is "holdfast image diff", which must end with the code.
func (s *shop) compare(t *testing.T, a, b string, code int) *diff.Report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, "image", "diff", a, b, "--json", "-q")
	cmd.Env = append(os.Environ(), asHoldfast+"=1")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() != code || !errors.As(err, &exit) && code != 0 {
		t.Fatalf("diff %s %s: %v, want exit code %d", a, b, err, code)
	}
	r := &diff.Report{}
	check(t, json.Unmarshal(out, r))
	return r
}

func (s *shop) rewrite(t *testing.T, from, to string) {
	t.Helper()
	path := filepath.Join(s.recipe, "recipe.yaml")
	raw, err := os.ReadFile(path)
	check(t, err)
	changed := strings.Replace(string(raw), from, to, 1)
	if changed == string(raw) {
		t.Fatalf("the recipe has no %q", from)
	}
	check(t, os.WriteFile(path, []byte(changed), 0o644))
	s.run(t, variant{}, s.state, "image", "lock", s.recipe)
}

func sections(r *diff.Report) []string {
	var names []string
	for _, c := range r.Sections {
		names = append(names, c.Name)
	}
	return names
}

func TestDifferenceOfMachineImagesIsNamed(t *testing.T) {
	needs(t, "sqfstar", "squashfs-tools")
	s := newShop(t, machineRecipe)
	before := s.build(t, variant{}, "machine")
	s.Add("bookworm", "Package: hello\nVersion: 2\nDepends: data", debtest.File{Name: "./usr/bin/hello", Content: "ELF2"},
		debtest.File{Name: "./usr/bin/more", Content: "ELF"})
	s.rewrite(t, `content: "x\n", mode: 0600`, `content: "x\n", mode: 0640`)
	s.rewrite(t, "console=ttyS0 quiet", "console=ttyS0 loud")
	r := s.compare(t, before, s.build(t, variant{}, "machine"), 1)
	got := sections(r)
	for _, want := range []string{"root hash", "UKI section .cmdline", "PCR 11", "partition root", "hash tree", "ESP file EFI/BOOT/BOOTX64.EFI"} {
		if !slices.Contains(got, want) {
			t.Errorf("got sections %q, want %q among them", got, want)
		}
	}
	if slices.Contains(got, "UKI section .linux") || slices.Contains(got, "kernel") {
		t.Errorf("got sections %q, and the kernel is the same", got)
	}
	if len(r.Packages) != 1 || r.Packages[0] != (diff.Change{Name: "hello", A: "1.0", B: "2"}) {
		t.Errorf("got packages %+v, want hello 1.0 and 2", r.Packages)
	}
	var files []string
	for _, f := range r.Files {
		files = append(files, f.Path+" "+strings.Join(f.What, ","))
	}
	want := []string{"etc/hello.conf mode", "usr/bin/hello content", "usr/bin/more ", "var/lib/dpkg/status.d/hello content"}
	if !slices.Equal(files, want) {
		t.Errorf("got files %q, want %q", files, want)
	}
}

// What was done to a disk afterwards shows too: the files are read, not only
// what image.json says of them.
func TestTamperedDiskDiffers(t *testing.T) {
	needs(t, "sqfstar", "squashfs-tools")
	needs(t, "mcopy", "mtools")
	s := newShop(t, machineRecipe)
	built := s.build(t, variant{}, "machine")
	m, err := image.ReadMachine(built)
	check(t, err)
	esp, root := m.Disk.Partitions[0], m.Disk.Partitions[1]
	for name, c := range map[string]struct {
		damage func(t *testing.T, disk string)
		want   string
	}{
		"a file more": {func(t *testing.T, disk string) { addToESP(t, disk, esp.Start) }, "ESP file loader/credentials/evil.cred"},
		"root":        {func(t *testing.T, disk string) { flip(t, disk, root.Start+200) }, "partition root"},
		"GPT":         {func(t *testing.T, disk string) { flip(t, disk, 512+60) }, "GPT"},
		"superblock":  {func(t *testing.T, disk string) { flip(t, disk, root.Start) }, "content of root"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := filepath.Join(t.TempDir(), "copy")
			check(t, os.CopyFS(copied, os.DirFS(built)))
			c.damage(t, filepath.Join(copied, "disk.img"))
			r := s.compare(t, built, copied, 1)
			if got := sections(r); r.Equal || !slices.Contains(got, c.want) || !slices.Contains(got, "disk") {
				t.Errorf("got equal %t and sections %q, want %q", r.Equal, got, c.want)
			}
		})
	}
}

func addToESP(t *testing.T, disk string, start int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "evil.cred")
	check(t, os.WriteFile(file, []byte("x"), 0o600))
	at := disk + "@@" + strconv.FormatInt(start, 10)
	for _, argv := range [][]string{{"mmd", "-i", at, "::loader"}, {"mmd", "-i", at, "::loader/credentials"},
		{"mcopy", "-i", at, file, "::loader/credentials/"}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	check(t, err)
	b[0] ^= 0x40
	_, err = f.WriteAt(b, at)
	check(t, errors.Join(err, f.Close()))
}

func TestWhatIsNoImageIsTrouble(t *testing.T) {
	s := newShop(t, helloRecipe)
	built := s.build(t, variant{}, "oci")
	for _, other := range []string{filepath.Join(built, "index.json"), filepath.Join(built, "nothing")} {
		cmd := exec.CommandContext(t.Context(), s.program, "image", "diff", built, "oci:"+other, "-q")
		cmd.Env = append(os.Environ(), asHoldfast+"=1")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: got %v and %q, want exit code 2 and one line", other, err, out)
		}
	}
}
