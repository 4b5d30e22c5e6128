package tree

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"
)

// Whatever a package's tar says, the tree's own tar has clean relative names,
// each parent before its child, and no link to what does not precede it.
//
//fuzz:parser add.go tree.go tar.go
func FuzzAnyPackageGivesACleanTar(f *testing.F) {
	f.Add("usr/bin/a", byte(tar.TypeReg), "", "usr/bin/b", byte(tar.TypeLink), "usr/bin/a")
	f.Add("lib", byte(tar.TypeSymlink), "../../etc", "lib/../x", byte(tar.TypeReg), "")
	f.Add("a", byte(tar.TypeSymlink), "b", "b", byte(tar.TypeSymlink), "a/c")
	f.Fuzz(func(t *testing.T, name1 string, type1 byte, link1, name2 string, type2 byte, link2 string) {
		tr, spool := New(), testSpool(t)
		must(t, tr.MergeUsr())
		for _, h := range []*tar.Header{
			{Name: name1, Typeflag: type1, Linkname: link1}, {Name: name2, Typeflag: type2, Linkname: link2},
		} {
			if err := addHeader(tr, "p", h, "x", spool); err != nil {
				return
			}
		}
		var out bytes.Buffer
		if err := tr.WriteTar(&out, date); err != nil {
			return // a name that tar cannot hold
		}
		checkClean(t, &out)
	})
}

func checkClean(t *testing.T, r io.Reader) {
	t.Helper()
	seen := map[string]bool{".": true}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return
		}
		must(t, err)
		name := strings.TrimSuffix(h.Name, "/")
		if !fs.ValidPath(name) && !strings.ContainsRune(name, 0xfffd) && strings.ToValidUTF8(name, "") == name {
			t.Fatalf("got name %q", h.Name)
		}
		if !seen[path.Dir(name)] {
			t.Fatalf("%q comes before its parent", h.Name)
		}
		if h.Typeflag == tar.TypeLink && !seen[h.Linkname] {
			t.Fatalf("%q links to %q, which does not precede it", h.Name, h.Linkname)
		}
		seen[name] = true
	}
}
