package deb

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func aptFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestBothFormsOfSourcesAreRead(t *testing.T) {
	root := aptFolder(t, map[string]string{
		"sources.list": "# deb http://old.example/debian bookworm main\n" +
			"deb [arch=amd64 signed-by=/a.gpg] http://a.example/debian/ bookworm main contrib # the mirror\n" +
			"deb-src http://a.example/debian bookworm main\n" +
			"deb cdrom:[Debian]/ bookworm main\n\tdeb\thttps://b.example/debian-security bookworm-security main\n",
		"sources.list.d/debian.sources": "Types: deb deb-src\n# a comment\nURIs: http://c.example/debian\n" +
			" http://d.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n \t\n" +
			"Types: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\nEnabled: no\n",
		"sources.list.d/debian.sources.bak": "Types: deb\nURIs: http://bak.example\nSuites: bookworm\nComponents: main\n",
	})
	got, err := ReadSources(root)
	if err != nil {
		t.Fatal(err)
	}
	main := []string{"main"}
	want := []Source{
		{"http://a.example/debian", "bookworm", []string{"main", "contrib"}},
		{"https://b.example/debian-security", "bookworm-security", main},
		{"http://c.example/debian", "bookworm", main}, {"http://c.example/debian", "bookworm-updates", main},
		{"http://d.example/debian", "bookworm", main}, {"http://d.example/debian", "bookworm-updates", main},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Debian's cloud images name their mirrors in such a file.
func TestMirrorListIsFollowed(t *testing.T) {
	root := aptFolder(t, map[string]string{
		"sources.list.d/debian.sources": "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: bookworm\nComponents: main\n",
		"mirrors/debian.list":           "# nearest\nhttps://deb.example/debian\nhttps://other.example/debian\n",
	})
	got, err := ReadSources(root)
	if want := []Source{{"https://deb.example/debian", "bookworm", []string{"main"}}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
}

func TestMachineWithoutSourcesHasNone(t *testing.T) {
	if got, err := ReadSources(t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("got %v and %v, want none", got, err)
	}
}

func TestArchiveOfASuiteIsWhatTheSourcesSay(t *testing.T) {
	main := []string{"main"}
	sources := []Source{
		{"http://vendor.example", "bookworm", []string{"stable"}},
		{"http://a.example/debian", "trixie", main},
		{"http://a.example/security", "trixie-security", main},
		{"http://b.example/debian", "bookworm", main},
	}
	for _, c := range []struct {
		mirror, suite string
		want          []string
	}{
		{"", "bookworm", []string{"http://b.example/debian"}},
		{"", "sid", []string{"http://a.example/debian", "http://b.example/debian"}},
		{"", "bookworm-security", []string{"http://a.example/security"}},
		{"", "bookworm-updates", nil},
		{"http://m.example/debian/", "bookworm", []string{"http://m.example/debian"}},
		{"http://m.example/debian", "bookworm-security", []string{"http://m.example/debian-security"}},
	} {
		a := newArchive(t, Config{Sources: sources, Mirror: c.mirror})
		if got := a.archives(c.suite); !slices.Equal(got, c.want) {
			t.Errorf("%s with mirror %q: got %v, want %v", c.suite, c.mirror, got, c.want)
		}
	}
}

func TestAMirrorAtTheRootOfAHostHasNoSecuritySuites(t *testing.T) {
	for mirror, want := range map[string]int{"http://127.0.0.1:8000": 0, "http://127.0.0.1:8000/debian": 1} {
		a := newArchive(t, Config{Mirror: mirror})
		if got := a.archives("bookworm-security"); len(got) != want {
			t.Errorf("%s: got %v, want %d", mirror, got, want)
		}
	}
}
