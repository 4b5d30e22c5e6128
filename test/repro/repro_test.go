// Package repro builds one lock in many ways and compares the images by their
// bytes: what a build must not depend on is varied from outside, around the
// whole program.
package repro

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"holdfast/internal/cli"
	"holdfast/internal/deb/debtest"
)

// asHoldfast makes this test's own program holdfast.
const asHoldfast = "HOLDFAST_TEST_IS_HOLDFAST"

func TestMain(m *testing.M) {
	if os.Getenv(asHoldfast) == "" {
		os.Exit(m.Run())
	}
	os.Exit(cli.Main(context.Background(), cli.Process{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
	}))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needs(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: apt-get install %s", tool, pkg)
	}
}

// A variant is one way of building.
type variant struct {
	name   string
	around []string // the command that runs the program
	env    []string
	depth  string // folders between the variant's own and what it works in
	fresh  bool   // with an empty HOME, and so an empty Go cache
	user   bool   // as nobody
	warm   bool   // after another build, with what that left in the cache
}

const nobody = 65534

var variants = []variant{
	{name: "again"},
	{name: "zone and locale", env: []string{"TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "LANG=C"}},
	{name: "clock", around: []string{"faketime", "-f", "2031-05-06 07:08:09"}, env: []string{"SOURCE_DATE_EPOCH=1"}},
	{name: "closed umask", around: []string{"sh", "-c", `umask 077; exec "$0" "$@"`}},
	{name: "open umask", around: []string{"sh", "-c", `umask 0; exec "$0" "$@"`}},
	{name: "one processor", around: []string{"taskset", "-c", "0"}, env: []string{"GOMAXPROCS=1"}},
	{name: "many threads", env: []string{"GOMAXPROCS=13"}},
	{name: "deep folder", depth: strings.Repeat("a-folder-of-some-length/", 8)},
	{name: "another HOME, cold Go cache", fresh: true},
	{name: "Go's settings", env: []string{"GOFLAGS=-buildvcs=true", "GOAMD64=v3", "GOARM64=v9.0", "GOEXPERIMENT=nogreenteagc", "CGO_ENABLED=1"}},
	{name: "warm cache", warm: true},
	{name: "another user", user: true, fresh: true},
}

// everything at once, but for the user.
func everything() variant {
	return variant{
		name:   "all at once",
		around: []string{"faketime", "-f", "2031-05-06 07:08:09", "taskset", "-c", "0", "sh", "-c", `umask 077; exec "$0" "$@"`},
		env:    []string{"TZ=Asia/Kathmandu", "LC_ALL=tr_TR.UTF-8", "SOURCE_DATE_EPOCH=1", "GOMAXPROCS=1", "GOAMD64=v3", "GOFLAGS=-buildvcs=true"},
		depth:  strings.Repeat("a-folder-of-some-length/", 8),
		warm:   true,
	}
}

func soak() bool { return os.Getenv("HOLDFAST_SOAK") != "" }

// A shop has one recipe with its lock, keys, and the archive that they are of.
type shop struct {
	*debtest.Archive
	program string // holdfast, where anybody may run it
	recipe  string // a folder in a Go module
	state   string
	home    string
}

// newShop makes all that the variants share.
func newShop(t *testing.T, recipe string) *shop {
	t.Helper()
	s := &shop{Archive: debtest.New(t), home: open(t)}
	s.program = filepath.Join(s.home, "holdfast")
	self, err := os.Executable()
	check(t, err)
	copyFile(t, self, s.program, 0o755)
	s.fill(t)
	s.recipe, s.state = filepath.Join(s.home, "module", "images", "hello"), filepath.Join(s.home, "state")
	for name, content := range map[string]string{
		"go.mod":                   "module hello\n\ngo 1.26\n",
		"cmd/hello/main.go":        "package main\n\nfunc main() { println(\"hello\") }\n",
		"images/hello/recipe.yaml": recipe,
	} {
		path := filepath.Join(s.home, "module", name)
		check(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)))
	}
	s.run(t, variant{}, s.state, "image", "lock", s.recipe)
	s.run(t, variant{}, s.state, "key", "init")
	return s
}

// open is a temporary folder that every user may look into.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "holdfast-repro-*")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

func copyFile(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	raw, err := os.ReadFile(from)
	check(t, err)
	check(t, errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, raw, mode)))
}

// fill adds packages. The stub stands for the kernels too, and for arm64's
// stub: all are EFI programs.
func (s *shop) fill(t *testing.T) {
	t.Helper()
	const stub = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	raw, err := os.ReadFile("/" + stub)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs /" + stub + ": apt-get install systemd-boot-efi")
	}
	check(t, err)
	many := []debtest.File{{Name: "./usr/share/hello/", Content: ""}}
	for i := range 200 { // so that there is something to share among processors
		many = append(many, debtest.File{Name: "./usr/share/hello/" + strconv.Itoa(i), Content: strings.Repeat(strconv.Itoa(i), 3000)})
	}
	s.Add("bookworm", "Package: data\nArchitecture: all", many...)
	for arch, stub := range map[string]string{"amd64": stub, "arm64": strings.Replace(stub, "x64", "aa64", 1)} {
		of := "\nArchitecture: " + arch
		s.Add("bookworm", "Package: hello\nDepends: data"+of, debtest.File{Name: "./usr/bin/hello", Content: "ELF of " + arch})
		s.Add("bookworm", "Package: linux-image-6.1"+of, debtest.File{Name: "./boot/vmlinuz-6.1", Content: string(raw)},
			debtest.File{Name: "./lib/modules/6.1/kernel/a.ko", Content: "ELF"})
		s.Add("bookworm", "Package: systemd-boot-efi"+of, debtest.File{Name: "./" + stub, Content: string(raw)})
	}
}

// run runs the program in the variant's way.
func (s *shop) run(t *testing.T, v variant, state string, args ...string) string {
	t.Helper()
	line := slices.Concat(v.around, []string{s.program}, args, []string{"--state", state})
	if v.user {
		line = append([]string{"setpriv", "--reuid", strconv.Itoa(nobody), "--regid", strconv.Itoa(nobody), "--clear-groups"}, line...)
	}
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), asHoldfast+"=1")
	if len(args) > 1 && args[1] != "diff" {
		cmd.Args = append(cmd.Args, "-q")
	}
	if args[0] == "image" && args[1] != "diff" {
		cmd.Args = append(cmd.Args, "--mirror", s.URL, "--keyring", s.Keyring)
	}
	if v.fresh {
		cmd.Env = append(cmd.Env, "HOME="+state, "GOCACHE="+filepath.Join(state, "go"), "TMPDIR="+state)
	}
	cmd.Env = append(cmd.Env, v.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", line, err, out)
	}
	return string(out)
}

// build makes an image the variant's way, from a copy of recipe, lock and keys.
func (s *shop) build(t *testing.T, v variant, format string) string {
	t.Helper()
	dir := filepath.Join(open(t), v.depth)
	check(t, os.MkdirAll(dir, 0o755))
	check(t, os.CopyFS(filepath.Join(dir, "module"), os.DirFS(filepath.Join(s.home, "module"))))
	check(t, os.CopyFS(filepath.Join(dir, "state", "keys"), os.DirFS(filepath.Join(s.state, "keys"))))
	if v.user {
		give(t, dir)
	}
	build := func(out string) string {
		s.run(t, v, filepath.Join(dir, "state"), "image", "build", filepath.Join(dir, "module", "images", "hello"), "--format", format, "-o", out)
		return out
	}
	if v.warm {
		build(filepath.Join(dir, "before"))
	}
	return build(filepath.Join(dir, "out"))
}

// give makes everything below dir nobody's own.
func give(t *testing.T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	}))
}

const helloRecipe = `
name: hello
suite: bookworm
architecture: amd64
packages: [hello]
users: [{name: hello, uid: 999, gid: 999}]
groups: [{name: hello, gid: 999}]
directories: [{path: /data, mode: 01770, owner: hello, group: hello}]
files: [{path: /etc/hello.conf, content: "x\n", mode: 0600, owner: hello}]
oci: {entrypoint: [/usr/bin/hello], labels: {b: "2", a: "1"}, env: [A=b]}
`

const machineRecipe = helloRecipe + `
programs: [{module: ".", package: ./cmd/hello, path: /usr/bin/compiled}]
machine:
  kernel: linux-image-6.1
  stub: systemd-boot-efi
  init: {module: ".", package: ./cmd/hello}
  cmdline: "console=ttyS0 quiet"
`

// chosen are the variants that this run builds.
func chosen(t *testing.T, most int) []variant {
	list := append([]variant{everything()}, variants...)
	if !soak() {
		list = list[:most]
	}
	return slices.DeleteFunc(list, func(v variant) bool {
		if v.user && os.Getuid() != 0 {
			t.Log("another user's build needs root to become that user: run as root")
		}
		return v.user && os.Getuid() != 0
	})
}

func TestContainerImageIsTheSameHoweverItIsBuilt(t *testing.T) {
	needs(t, "faketime", "faketime")
	s := newShop(t, helloRecipe)
	first := s.build(t, variant{}, "oci")
	for _, v := range append(chosen(t, 2), variants[len(variants)-1]) {
		if v.user && os.Getuid() != 0 {
			continue
		}
		s.same(t, v, first, s.build(t, v, "oci"))
	}
}

func TestMachineImageIsTheSameHoweverItIsBuilt(t *testing.T) {
	needs(t, "faketime", "faketime")
	needs(t, "sqfstar", "squashfs-tools")
	s := newShop(t, machineRecipe)
	first := s.build(t, variant{}, "machine")
	for _, v := range chosen(t, 1) {
		s.same(t, v, first, s.build(t, v, "machine"))
	}
}

// same lets "holdfast image diff" judge, and the bytes of each file.
func (s *shop) same(t *testing.T, v variant, a, b string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, "image", "diff", a, b, "--json", "-q")
	cmd.Env = append(os.Environ(), asHoldfast+"=1")
	out, err := cmd.Output()
	var report struct{ Equal bool }
	if jsonErr := json.Unmarshal(out, &report); err != nil || jsonErr != nil || !report.Equal {
		t.Errorf("%s: the image differs: %v\n%s", v.name, err, out)
	}
	check(t, filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		other := filepath.Join(b, strings.TrimPrefix(path, a))
		if out, err := exec.Command("cmp", path, other).CombinedOutput(); err != nil {
			t.Errorf("%s: %s: %s", v.name, d.Name(), out)
		}
		return nil
	}))
}
