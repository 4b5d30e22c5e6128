package diff

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast/internal/enc"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var date = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// file is a tar entry with content.
func file(name, content string, change ...func(*tar.Header)) entry {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: date}
	for _, c := range change {
		c(h)
	}
	return entry{h, content}
}

type entry struct {
	*tar.Header
	content string
}

func kind(typeflag byte, name, target string) entry {
	return entry{&tar.Header{Typeflag: typeflag, Name: name, Linkname: target, Mode: 0o755, ModTime: date}, ""}
}

func layer(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		check(t, w.WriteHeader(e.Header))
		_, err := io.WriteString(w, e.content)
		check(t, err)
	}
	check(t, w.Close())
	return b.Bytes()
}

// layout writes an OCI layout of layers, without any code of ours.
func layout(t *testing.T, layers ...[]byte) string {
	return layoutOf(t, v1.MediaTypeImageLayer, layers...)
}

func layoutOf(t *testing.T, mediaType string, layers ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	put := func(mediaType string, raw []byte) v1.Descriptor {
		d := digest.FromBytes(raw)
		path := filepath.Join(dir, "blobs", "sha256", d.Encoded())
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, raw, 0o644))
		return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
	}
	doc := func(mediaType string, v any) v1.Descriptor {
		raw, err := json.Marshal(v)
		check(t, err)
		return put(mediaType, raw)
	}
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for _, l := range layers {
		m.Layers = append(m.Layers, put(mediaType, l))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(l))
	}
	m.Config = doc(v1.MediaTypeImageConfig, config)
	index, err := json.Marshal(v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{doc(v1.MediaTypeImageManifest, m)}})
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644))
	check(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	return dir
}

func compare(t *testing.T, a, b string) *Report {
	t.Helper()
	r, err := Images(t.Context(), a, b, Options{})
	check(t, err)
	return r
}

func told(r *Report) []string {
	var list []string
	for _, f := range r.Files {
		sign := "~"
		switch {
		case f.A == nil:
			sign = "+"
		case f.B == nil:
			sign = "-"
		}
		list = append(list, strings.TrimSpace(sign+f.Path+" "+strings.Join(f.What, ",")))
	}
	return list
}

func TestEachDifferenceOfAFileIsNamed(t *testing.T) {
	base := func(change ...func(*tar.Header)) []byte { return layer(t, file("f", "x", change...)) }
	for want, b := range map[string][]byte{
		"content":                  layer(t, file("f", "y")),
		"mode":                     base(func(h *tar.Header) { h.Mode = 0o4644 }),
		"owner":                    base(func(h *tar.Header) { h.Gid = 7 }),
		"mtime":                    base(func(h *tar.Header) { h.ModTime = date.Add(time.Second) }),
		"xattrs":                   base(func(h *tar.Header) { h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "b"} }),
		"type,content,mode":        layer(t, kind(tar.TypeDir, "f/", "")),
		"type,content,mode,target": layer(t, kind(tar.TypeSymlink, "f", "g")),
	} {
		r := compare(t, layout(t, base()), layout(t, b))
		if got := told(r); r.Equal || !slices.Equal(got, []string{"~f " + want}) {
			t.Errorf("got equal %t and %q, want %q", r.Equal, got, want)
		}
	}
}

func TestLayersLieOverEachOther(t *testing.T) {
	below := layer(t, kind(tar.TypeDir, "d/", ""), file("d/a", "a"), file("d/b", "b"), file("gone", "g"), kind(tar.TypeDir, "o/", ""), file("o/x", "x"))
	above := layer(t, file("d/.wh.a", ""), file(".wh.gone", ""), file("o/y", "y"), file("o/.wh..wh..opq", ""), kind(tar.TypeLink, "d/c", "d/b"))
	flat := layer(t, kind(tar.TypeDir, "d/", ""), file("d/b", "b"), file("d/c", "b"), kind(tar.TypeDir, "o/", ""), file("o/y", "y"))
	r := compare(t, layout(t, below, above), layout(t, flat))
	if len(r.Files) > 0 || r.Equal {
		t.Errorf("got equal %t and %q, want the same files in other layers", r.Equal, told(r))
	}
	if len(r.Sections) != 3 { // the config and both layers
		t.Errorf("got sections %+v", r.Sections)
	}
}

func TestPackagesAreComparedByVersion(t *testing.T) {
	status := func(text string) []byte { return layer(t, file("var/lib/dpkg/status", text)) }
	a := status("Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: install ok installed\nVersion: 1\n\n" +
		"Package: removed\nStatus: deinstall ok config-files\nVersion: 1\n")
	b := layer(t, file("var/lib/dpkg/status.d/a", "Package: a\nVersion: 2\n"), file("var/lib/dpkg/status.d/c", "Package: c\nVersion: 1\n"),
		file("var/lib/dpkg/status.d/c.md5sums", "Package: no\n"))
	want := []Change{{"a", "1", "2"}, {"b", "1", ""}, {"c", "", "1"}}
	if r := compare(t, layout(t, a), layout(t, b)); !slices.Equal(r.Packages, want) {
		t.Errorf("got %+v, want %+v", r.Packages, want)
	}
}

func TestEncryptedLayerIsComparedByDigest(t *testing.T) {
	a := layoutOf(t, v1.MediaTypeImageLayer+enc.Suffix, []byte("sealed"))
	b := layoutOf(t, v1.MediaTypeImageLayer+enc.Suffix, []byte("otherwise"))
	r := compare(t, a, b)
	if r.Equal || len(r.Opaque) != 1 || !strings.Contains(r.Opaque[0], "layer 1 is encrypted") {
		t.Errorf("got equal %t and notes %q", r.Equal, r.Opaque)
	}
	if r := compare(t, a, a); !r.Equal {
		t.Errorf("got %+v, want the same image equal to itself", r)
	}
}

func TestDamagedLayerIsNoDifference(t *testing.T) {
	good := layer(t, file("f", "x"))
	a, b := layout(t, good), layout(t, good)
	path := filepath.Join(b, "blobs", "sha256", digest.FromBytes(good).Encoded())
	check(t, os.WriteFile(path, append(good[:len(good)-1:len(good)-1], 'x'), 0o644))
	if _, err := Images(t.Context(), a, b, Options{}); err == nil {
		t.Error("an image whose layer is not what its digest says was compared")
	}
}

// What a layer's tar says is foreign: reading it ends, in a list of clean paths.
//
//fuzz:parser layers.go:apply,entry,remove,link,fromTar
func FuzzLayer(f *testing.F) {
	f.Add(layer(f, file("a", "x"), kind(tar.TypeDir, "d/", ""), file("d/.wh..wh..opq", ""), kind(tar.TypeLink, "l", "a"), file("../../x", "y")))
	f.Add(layer(f, file("var/lib/dpkg/status", "Package: a\nVersion: 1\n")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := newContent()
		if err := c.apply(t.Context(), bytes.NewReader(raw)); err != nil {
			return
		}
		c.collectPackages()
		for p := range c.files {
			if strings.HasPrefix(p, "/") || strings.HasPrefix(p, "../") {
				t.Errorf("path %q", p)
			}
		}
	})
}
