package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/image/recipe"
	"holdfast/internal/image/tree"
	"holdfast/internal/progress"
)

var date = time.Date(2026, 11, 14, 9, 30, 0, 0, time.UTC)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func smallTree(t *testing.T) *tree.Tree {
	t.Helper()
	tr := tree.New()
	check(t, tr.MergeUsr())
	check(t, tr.Put("usr/bin/hello", &tree.Node{Type: tar.TypeReg, Mode: 0o755, Content: tree.Bytes([]byte("hello\n"))}))
	return tr
}

// smallLayout writes a layout the way BuildOCI does, from a tree at hand.
func smallLayout(t *testing.T, dir string, c Compression) {
	t.Helper()
	l, err := newLayout(dir)
	check(t, err)
	defer l.discard()
	path := filepath.Join(t.TempDir(), "recipe.yaml")
	check(t, os.WriteFile(path, []byte("name: small\nsuite: bookworm\narchitecture: amd64\npackages: []\n"+
		"oci: {entrypoint: [/usr/bin/hello], user: nobody, ports: [80/tcp]}\n"), 0o600))
	r, err := recipe.Load(path)
	check(t, err)
	b := &build{Options: Options{Recipe: r, Lock: &recipe.Lock{Architecture: "amd64", Date: date}, Progress: progress.Silent}}
	_, err = b.pack(context.Background(), l, smallTree(t), OCIOptions{Compression: c})
	check(t, err)
}

func needs(t *testing.T, tool, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("needs %s: apt-get install %s", tool, pkg)
	}
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		t.Fatalf("%s %v: %v: %s", name, args, err, exit.Stderr)
	}
	check(t, err)
	return out
}

func TestSkopeoReadsTheLayout(t *testing.T) {
	needs(t, "skopeo", "skopeo")
	for _, c := range []Compression{Zstd, Gzip} {
		t.Run(string(c), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "image")
			smallLayout(t, dir, c)
			var config v1.Image
			check(t, json.Unmarshal(run(t, "skopeo", "inspect", "--config", "oci:"+dir+":latest"), &config))
			if config.Config.User != "nobody" || !config.Created.Equal(date) || config.Architecture != "amd64" {
				t.Fatalf("got %+v, want the config of the recipe", config)
			}
			// Compressing anew unpacks the layer and checks its diff ID.
			copied := "oci:" + filepath.Join(t.TempDir(), "copy")
			run(t, "skopeo", "--insecure-policy", "copy", "--dest-compress-format", "gzip", "oci:"+dir+":latest", copied)
			if c == Gzip { // skopeo 1.9 knows no zstd in Docker's own formats
				run(t, "skopeo", "--insecure-policy", "copy", copied, "docker-archive:"+filepath.Join(t.TempDir(), "a.tar"))
			}
		})
	}
}

func TestOutputIsReplacedWholeAndNothingElseIs(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "image")
	smallLayout(t, dir, Gzip)
	smallLayout(t, dir, Zstd)
	if list, _ := os.ReadDir(parent); len(list) != 1 {
		t.Fatalf("got %v, want the image alone", list)
	}
	for _, mark := range []string{"oci-layout", "image.json", "other"} {
		own := filepath.Join(parent, "own-"+mark)
		check(t, os.MkdirAll(filepath.Join(own, "precious"), 0o755))
		check(t, os.WriteFile(filepath.Join(own, mark), []byte("{}"), 0o644))
		if _, err := newLayout(own); !errors.Is(err, ErrNotImage) {
			t.Errorf("%s with a folder beside it: got %v, want %v", mark, err, ErrNotImage)
		}
	}
}

func TestAKilledBuildIsSweptAndALiveOneIsNot(t *testing.T) {
	parent := t.TempDir()
	live, err := newFolder(filepath.Join(parent, "live"))
	check(t, err)
	defer live.discard()
	dead, err := newFolder(filepath.Join(parent, "dead"))
	check(t, err)
	check(t, dead.held.Close()) // as the kernel does when a process ends
	for _, dir := range []string{live.tmp, dead.tmp} {
		check(t, os.Chtimes(dir, date, time.Now().Add(-time.Hour)))
	}
	next, err := newFolder(filepath.Join(parent, "next"))
	check(t, err)
	defer next.discard()
	if _, err := os.Stat(live.tmp); err != nil {
		t.Errorf("a build under way was swept: %v", err)
	}
	if _, err := os.Stat(dead.tmp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a killed build is left: %v", err)
	}
}
