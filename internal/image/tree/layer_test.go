package tree

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

func dated(t *testing.T, tr *Tree, s *Spool, origin, name string, at time.Time) {
	t.Helper()
	h, body := file(name, origin)
	h.ModTime = at
	must(t, addHeader(tr, origin, h, body, s))
}

// listed is what a tar holds, as "name content-or-target time".
func listed(t *testing.T, raw []byte) []string {
	t.Helper()
	var lines []string
	r := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		lines = append(lines, strings.Join([]string{h.Name, string(content) + h.Linkname, h.ModTime.UTC().Format(time.DateOnly)}, " "))
	}
}

func layer(t *testing.T, tr *Tree, i int) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, tr.WriteLayer(&b, i, date))
	return b.Bytes()
}

// layered is a tree of two packages and what a recipe does to them.
func layered(t *testing.T, recipe func(*Tree)) *Tree {
	tr, s := New(), testSpool(t)
	must(t, tr.MergeUsr())
	dated(t, tr, s, "libc6", "usr/lib/libc.so", time.Date(2023, 5, 6, 0, 0, 0, 0, time.UTC))
	dated(t, tr, s, "libc6", "etc/x.conf", time.Date(2022, 5, 6, 0, 0, 0, 0, time.UTC))
	tr.NextLayer()
	dated(t, tr, s, "app", "usr/bin/app", time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC))
	must(t, tr.AddHeader("app", &tar.Header{Name: "usr/bin/libc", Typeflag: tar.TypeLink, Linkname: "usr/lib/libc.so"}, Content{}))
	tr.NextLayer()
	recipe(tr)
	return tr
}

func TestALayerHoldsItsPackagesAndTheFoldersAbove(t *testing.T) {
	tr := layered(t, func(tr *Tree) {
		must(t, tr.Put("etc/x.conf", &Node{Type: tar.TypeReg, Mode: 0o600, Content: Bytes([]byte("mine"))}))
	})
	for i, want := range [][]string{
		{
			"bin usr/bin 2023-05-06", "etc/  2023-05-06", "etc/x.conf libc6 2022-05-06", "lib usr/lib 2023-05-06", "lib64 usr/lib64 2023-05-06",
			"sbin usr/sbin 2023-05-06", "usr/  2023-05-06", "usr/bin/  2023-05-06", "usr/lib/  2023-05-06", "usr/lib/libc.so libc6 2023-05-06",
			"usr/lib64/  2023-05-06", "usr/sbin/  2023-05-06",
		},
		{"usr/  2023-05-06", "usr/bin/  2023-05-06", "usr/bin/app app 2025-01-02", "usr/bin/libc libc6 2023-05-06"},
		{"etc/  2023-05-06", "etc/x.conf mine 2026-11-14"},
	} {
		if got := listed(t, layer(t, tr, i)); !slices.Equal(got, want) {
			t.Errorf("layer %d: got  %q\nwant %q", i, got, want)
		}
	}
}

func TestWhatARecipeAddsLeavesTheLayersBelowAsTheyAre(t *testing.T) {
	plain := layered(t, func(*Tree) {})
	changed := layered(t, func(tr *Tree) {
		must(t, tr.Put("etc/x.conf", &Node{Type: tar.TypeReg, Content: Bytes([]byte("mine"))}))
		must(t, tr.Put("etc", &Node{Type: tar.TypeDir, Mode: 0o700}))
		must(t, tr.Put("usr/bin/more", &Node{Type: tar.TypeReg}))
	})
	for i := range 2 {
		if !bytes.Equal(layer(t, plain, i), layer(t, changed, i)) {
			t.Errorf("layer %d is another since the recipe adds to the tree", i)
		}
	}
}

func TestWhatARecipeRemovesIsInNoLayer(t *testing.T) {
	tr := layered(t, func(tr *Tree) {
		must(t, tr.Put("etc/x.conf", &Node{Type: tar.TypeReg}))
		must(t, tr.Remove("/etc/**", "/usr/bin/app"))
	})
	for i := range tr.Layers() {
		for _, line := range listed(t, layer(t, tr, i)) {
			if strings.Contains(line, "etc") || strings.Contains(line, "app") || strings.Contains(line, ".wh.") {
				t.Errorf("layer %d holds %q, want no trace of what was removed", i, line)
			}
		}
	}
}

func TestAFolderInPlaceOfAFileIsInTheLaterLayerAlone(t *testing.T) {
	tr := layered(t, func(tr *Tree) { must(t, tr.Put("etc/x.conf", &Node{Type: tar.TypeDir, Mode: 0o755})) })
	if got := listed(t, layer(t, tr, 0)); slices.Contains(got, "etc/x.conf libc6 2022-05-06") {
		t.Errorf("got %q, want no file that a folder would have to replace", got)
	}
}
