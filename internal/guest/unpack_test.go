package guest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"holdfast/internal/oci"
)

// apply unpacks layers into a new folder beside a file that no layer may
// touch.
func apply(t testing.TB, layers ...[]byte) (rootfs string, err error) {
	t.Helper()
	dir := t.TempDir()
	rootfs = filepath.Join(dir, "rootfs")
	if err := os.Mkdir(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "outside"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree, err := openTree(rootfs)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	u := newUnpacker(tree)
	for _, l := range layers {
		if err := u.unpack(bytes.NewReader(l)); err != nil {
			return rootfs, err
		}
	}
	return rootfs, u.finish()
}

// listing describes a tree, a line for each file.
func listing(t testing.TB, root string) (lines []string) {
	t.Helper()
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		content := ""
		switch s.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
			if first, ok := inodes[s.Ino]; ok {
				content = "hard link to " + first
			} else {
				inodes[s.Ino] = name
			}
		case unix.S_IFLNK:
			content, _ = os.Readlink(path)
		}
		lines = append(lines, fmt.Sprintf("%s %o %d:%d %d %q", name, s.Mode, s.Uid, s.Gid, s.Mtim.Sec, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func file(name, content string) tar.Header { return tar.Header{Name: name, Linkname: content} }
func folder(name string) tar.Header        { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
func symlink(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o777}
}
func hardlink(name, to string) tar.Header {
	return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink}
}

// layered are layers that use all that the format has.
func layered(t testing.TB) [][]byte {
	return [][]byte{
		archive(t, folder("./"), folder("usr/"), folder("usr/lib/"), symlink("lib", "usr/lib"), symlink("abs", "/usr"),
			file("lib/a", "a"), file("abs/b", "b"), hardlink("usr/b2", "usr/b"),
			tar.Header{Name: "usr/su", Linkname: "su", Mode: 0o4755}, tar.Header{Name: "usr/sgid/", Typeflag: tar.TypeDir, Mode: 0o2775, Gid: 50},
			tar.Header{Name: "home", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 1000, Gid: 1001}, tar.Header{Name: "home/f", Uid: 1000, Gid: 1001, Mode: 0o600, Linkname: "f"},
			folder("gone/"), file("gone/x", "x"), folder("opaque/"), file("opaque/old", "old"), folder("opaque/sub"), file("opaque/sub/old", "old"),
			file("replaced", "old"), folder("becomesfile"), file("becomesfile/x", "x"), file("becomesfolder", "x"), symlink("becomesplain", "usr")),
		archive(t, file(".wh.gone", ""), folder("opaque/"), file("opaque/new", "new"), file("opaque/.wh..wh..opq", ""),
			file("replaced", "new"), file("becomesfile", "file"), folder("becomesfolder/"), file("becomesfolder/y", "y"),
			file("becomesplain", "plain"), file(".wh.never", ""), file("nowhere/.wh.never", ""), file("usr/.wh.b2", ""), hardlink("linked", "replaced")),
		archive(t, folder("gone/"), file("gone/again", "again"), file("lib/c", "c")),
	}
}

func TestLayersGiveTheTreeThatUmociGives(t *testing.T) {
	needRoot(t)
	umoci, err := exec.LookPath("umoci")
	if err != nil {
		t.Skip("needs umoci: apt-get install umoci")
	}
	layers := layered(t)
	rootfs, err := apply(t, layers...)
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "rootfs")
	if out, err := exec.Command(umoci, "raw", "unpack", "--image", writeLayout(t, layers)+":latest", theirs).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	got, want := listing(t, rootfs), listing(t, theirs)
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not umoci's: %s", line)
		}
	}
}

// writeLayout writes an OCI image layout for another tool to read.
func writeLayout(t *testing.T, layers [][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := &shelf{content: map[oci.Digest][]byte{}}

	var m v1.Manifest
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers"}}
	for _, l := range layers {
		d := s.putLayer(plainLayer, l)
		m.Layers, config.RootFS.DiffIDs = append(m.Layers, d), append(config.RootFS.DiffIDs, d.Digest)
	}
	m.SchemaVersion, m.MediaType = 2, v1.MediaTypeImageManifest
	m.Config = s.putJSON(t, config)
	m.Config.MediaType = v1.MediaTypeImageConfig
	d := s.putJSON(t, m)
	d.MediaType, d.Annotations = v1.MediaTypeImageManifest, map[string]string{v1.AnnotationRefName: "latest"}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{d}}
	index.SchemaVersion = 2
	files := map[string][]byte{"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)}
	files["index.json"], _ = json.Marshal(index)
	for d, b := range s.content {
		files["blobs/sha256/"+d.Hex()] = b
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNoEntryLeavesTheTree(t *testing.T) {
	needRoot(t)
	for name, layers := range map[string][][]byte{
		"dots":                {archive(t, file("../outside", "x"))},
		"absolute":            {archive(t, file("/../../outside", "x"))},
		"symlink up":          {archive(t, symlink("up", ".."), file("up/outside", "x"))},
		"absolute symlink":    {archive(t, symlink("up", "/.."), file("up/outside", "x"))},
		"symlink chain":       {archive(t, symlink("a", "b/.."), symlink("b", "../.."), file("a/outside", "x"))},
		"over a symlink":      {archive(t, symlink("f", "../outside"), file("f", "x"))},
		"hard link up":        {archive(t, hardlink("f", "../outside")), archive(t, file("f", "x"))},
		"hard link by link":   {archive(t, symlink("up", ".."), hardlink("f", "up/outside"))},
		"whiteout up":         {archive(t), archive(t, file("../.wh.outside", ""))},
		"whiteout by symlink": {archive(t, symlink("up", "..")), archive(t, file("up/.wh.outside", ""))},
		"opaque by symlink":   {archive(t, symlink("up", "..")), archive(t, file("up/.wh..wh..opq", ""))},
		"mode by symlink":     {archive(t, symlink("f", "../outside"), tar.Header{Name: "f/", Typeflag: tar.TypeDir, Mode: 0o777})},
	} {
		rootfs, _ := apply(t, layers...) // some are refused, some land inside
		outside := filepath.Join(filepath.Dir(rootfs), "outside")
		info, err := os.Stat(outside)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := os.ReadFile(outside)
		if string(b) != "untouched" || info.Mode() != 0o600 || info.Sys().(*syscall.Stat_t).Nlink != 1 {
			t.Errorf("%s: a file outside is %q with mode %v", name, b, info.Mode())
		}
		if entries, _ := os.ReadDir(filepath.Dir(rootfs)); len(entries) != 2 {
			t.Errorf("%s: %d files beside the root, want 1", name, len(entries)-1)
		}
	}
}

func TestBadEntriesAreRefusedByName(t *testing.T) {
	needRoot(t)
	for want, entry := range map[string]tar.Header{
		`"a/.wh...": whiteout of ".."`: file("a/.wh...", ""),
		`".wh.": whiteout of ""`:       file(".wh.", ""),
		`"c": entry of type '7'`:       {Name: "c", Typeflag: tar.TypeCont},
		`".": it would replace`:        symlink(".", "/etc"),
		`"x": open folder /no`:         hardlink("x", "no/such"),
		`owner 4294967295:0 is out of`: {Name: "o", Uid: 1<<32 - 1},
	} {
		_, err := apply(t, archive(t, folder("a")), archive(t, entry))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestDeviceNodesAreLeftOut(t *testing.T) {
	needRoot(t)
	rootfs, err := apply(t, archive(t, tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}, tar.Header{Name: "mem", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 1},
		tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}))
	if err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(rootfs); len(entries) != 1 || entries[0].Name() != "pipe" {
		t.Errorf("got %v, want the pipe alone", entries)
	}
}

func TestCapabilitiesAreKept(t *testing.T) {
	needRoot(t)
	const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service+ep
	rootfs, err := apply(t, archive(t, tar.Header{Name: "f", Uid: 1000,
		PAXRecords: map[string]string{attributePrefix + "security.capability": capability, attributePrefix + "trusted.overlay.opaque": "y"}}))
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(rootfs, "f"), "security.capability", value)
	if err != nil || string(value[:n]) != capability {
		t.Errorf("got %x, %v", value[:max(n, 0)], err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(rootfs, "f"), "trusted.overlay.opaque", value); err == nil {
		t.Error("an attribute of the kernel's was set")
	}
}

// unpacked is a layer in a folder, open until the test ends.
func unpacked(t *testing.T, layer []byte) (rootfs string, open *tree) {
	t.Helper()
	rootfs, err := apply(t, layer)
	if err != nil {
		t.Fatal(err)
	}
	if open, err = openTree(rootfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	return rootfs, open
}
