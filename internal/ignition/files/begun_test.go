package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// Of a run that was cut off the next makes whole what is there in part, and
// removes what has no name yet. Without such a run a part is somebody's file.
func TestWhatACutLeftOfAFileIsMadeWhole(t *testing.T) {
	root, more := t.TempDir(), "and more"
	at := func(name string) string { return filepath.Join(root, name) }
	c := types.Config{}
	c.Storage.Files = []types.File{contents("/etc/one", "one"), contents("/etc/two", "two")}
	c.Storage.Files[1].Append = []types.Resource{{Source: &more}}
	half := at("etc/" + scratchPrefix + "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	left := func(one, two string) {
		for name, text := range map[string]string{"etc/one": one, "etc/two": two} {
			check(t, os.WriteFile(at(name), []byte(text), 0o644))
		}
		check(t, os.WriteFile(half, []byte("o"), 0o600))
	}
	check(t, os.Mkdir(at("etc"), 0o755))
	left("", "twoand")
	if err := apply(t, root, c); !errors.Is(err, errExists) {
		t.Errorf("no run was cut off: got %v", err)
	}
	if err := apply(t, root, c); !errors.Is(err, errExists) {
		t.Errorf("a run that refused was none that was cut off: got %v", err)
	}
	check(t, os.WriteFile(at(begunPath), nil, 0o600))
	check(t, apply(t, root, c))
	check(t, os.WriteFile(at(begunPath), nil, 0o600))
	left("on", "")
	check(t, apply(t, root, c))
	for name, want := range map[string]string{"etc/one": "one", "etc/two": "twoand more"} {
		if got, err := os.ReadFile(at(name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, path := range []string{half, at(begunPath)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	check(t, os.WriteFile(at(begunPath), nil, 0o600))
	left("onX", "twoand more")
	if err := apply(t, root, c); !errors.Is(err, errExists) {
		t.Errorf("another file is no part: got %v", err)
	}
}
