package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"pault.ag/go/debian/dependency"

	"holdfast/internal/deb/debtest"
)

func leaves(name string) bool {
	return path.IsAbs(name) || !filepath.IsLocal(name) || path.Clean(name) != name
}

// Names stay in the tree. The committed inputs were built by dpkg-deb, one
// with each of its compressions.
//
//fuzz:parser unpack.go ar.go decompress.go
func FuzzUnpack(f *testing.F) {
	f.Add(debtest.Build(f, control, debtest.File{Name: "./a", Content: "b"}))
	f.Add(debtest.Ar("debian-binary", []byte("2.0\n"), "data.tar.xz", []byte("\xfd7zXZ\x00")))
	f.Add(debtest.Ar("debian-binary", []byte("2.0\n"), "data.tar.zst", []byte("\x28\xb5\x2f\xfd")))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkUnpack(t, b)
		if p, err := ReadControl(bytes.NewReader(b)); err == nil && p.Get("Package") == "" {
			t.Errorf("control %q names no package", p)
		}
	})
}

func checkUnpack(t *testing.T, b []byte) {
	_ = Unpack(bytes.NewReader(b), func(h *tar.Header, r io.Reader) error {
		if leaves(h.Name) || h.Name == "." || h.Typeflag == tar.TypeLink && leaves(h.Linkname) {
			t.Errorf("%q with link %q leaves the tree", h.Name, h.Linkname)
		}
		n, err := io.CopyN(io.Discard, r, 1<<20)
		if err == io.EOF && n < h.Size && h.Typeflag == tar.TypeReg {
			t.Errorf("%q has %d of %d bytes and no error", h.Name, n, h.Size)
		}
		if err == io.EOF {
			return nil
		}
		return err
	})
}

// The same for the tar inside, which mutations of a whole package seldom
// reach; and the entries are those of archive/tar, by their cleaned names.
//
//fuzz:parser unpack.go:eachFile,cleanNames,cleanName,Read
func FuzzDataTar(f *testing.F) {
	head := debtest.Tar(f, debtest.File{Name: "./control", Content: control})
	f.Add(debtest.Tar(f, debtest.File{Name: "./"}, debtest.File{Name: "./usr/"}, debtest.File{Name: "./usr/a", Content: "x"}))
	f.Add(debtest.Tar(f, debtest.File{Name: "../a"}))
	f.Add(debtest.Tar(f, debtest.File{Name: "a", Header: func(h *tar.Header) { h.Typeflag, h.Linkname, h.Size = tar.TypeLink, "./b//c", 0 }}))
	f.Fuzz(func(t *testing.T, data []byte) {
		deb := debtest.Ar("debian-binary", []byte("2.0\n"), "control.tar", head, "data.tar", data)
		checkUnpack(t, deb)
		var got, want []string
		if Unpack(bytes.NewReader(deb), func(h *tar.Header, _ io.Reader) error { got = append(got, h.Name); return nil }) != nil {
			return
		}
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			if name := path.Clean(h.Name); name != "." {
				want = append(want, name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, archive/tar %q", got, want)
		}
	})
}

// Members lie one behind the other, whatever their headers say.
//
//fuzz:parser ar.go
func FuzzAr(f *testing.F) {
	f.Add(debtest.Ar("debian-binary", []byte("2.0\n"), "odd", []byte("123"), "even/", []byte("12")))
	f.Add(debtest.Ar("a", []byte(strings.Repeat("x", 61)))[:100])
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := newArReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		read := len(arMagic)
		for {
			name, err := a.next()
			if err != nil {
				break
			}
			body, err := io.ReadAll(a.body)
			if err != nil || len(name) > 16 {
				t.Fatalf("member %q: %v", name, err)
			}
			if at := read + 60; !bytes.Equal(body, b[at:at+len(body)]) {
				t.Fatalf("member %q is not at %d", name, at)
			}
			read += 60 + len(body) + len(body)%2
		}
		if read > len(b)+1 {
			t.Errorf("%d bytes of members in %d", read, len(b))
		}
	})
}

//fuzz:parser release.go:parseRelease,releaseTime,addFile,check,localPath
func FuzzRelease(f *testing.F) {
	f.Add(releaseText)
	f.Add(realRelease)
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseRelease(text)
		if err != nil {
			return
		}
		for name, file := range r.files {
			if leaves(name) || file.size < 0 || !strings.Contains(text, file.digest.Hex()) {
				t.Errorf("index %q: %+v", name, file)
			}
		}
		if r.date.IsZero() && r.validUntil.IsZero() && len(r.files) == 0 && text == "" {
			t.Error("nothing was accepted as a release")
		}
		_ = r.check("bookworm", debtest.Now)
	})
}

// realRelease is the head of Debian's own for bookworm.
const realRelease = `Origin: Debian
Label: Debian
Suite: oldstable
Version: 12.12
Codename: bookworm
Changelogs: https://metadata.ftp-master.debian.org/changelogs/@CHANGEPATH@_changelog
Date: Sat, 06 Sep 2025 12:16:11 UTC
Valid-Until: Sat, 13 Sep 2025 12:16:11 UTC
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64 arm64 armel armhf i386 mips64el mipsel ppc64el s390x
Components: main contrib non-free-firmware non-free
Description: Debian 12.12 Released 06 September 2025
MD5Sum:
 0ed6d4c8891eb86358b94bb35d9e4da4  1484322 contrib/Contents-all
SHA256:
 d6c9c82f4e61b4662f9ba16b9ebb379c57b4943f8b7813091d1f637325ddfb79  1484322 contrib/Contents-all
 3957f28db16e3f28c7b34ae84f1c929c567de6970f3f1b95dac9b498dd80fe63        0 main/binary-amd64/Packages
`

// What is accepted was signed: the text that the key signed and no other,
// whatever stands around it or in its armor.
//
//fuzz:parser release.go:openRelease,verifyAny,parseRelease
func FuzzInRelease(f *testing.F) {
	served := debtest.New(f)
	key := debtest.NewKey(f)
	a := newArchive(f, Config{Mirror: served.URL, Keyring: debtest.WriteKeyring(f, key), Now: debtestNow})
	signed := served.Sign(releaseText, key)
	block, _ := clearsign.Decode(signed)
	f.Add(uint16(0), []byte(nil), []byte(nil), []byte(nil))
	f.Add(uint16(60), []byte("Suite: other"), []byte(nil), []byte(nil))
	f.Add(uint16(0), []byte(nil), []byte(releaseText), []byte("\n"+releaseText))
	f.Add(uint16(34), []byte("Hash: MD5   "), []byte(nil), signed)
	f.Add(uint16(len(signed)-80), []byte("=AAAA"), signed, []byte(nil))
	f.Fuzz(func(t *testing.T, at uint16, with, before, behind []byte) {
		b := bytes.Clone(signed)
		copy(b[int(at)%len(b):], with)
		b = slices.Concat(before, b, behind)
		r, err := a.openRelease(b, openpgp.EntityList{key})
		var bad *SignatureError
		if err != nil {
			if !errors.As(err, &bad) {
				t.Errorf("got %v, want a SignatureError", err)
			}
			return
		}
		want, err := parseRelease(string(block.Plaintext))
		if err != nil || r.suite != want.suite || len(r.files) != len(want.files) || !r.date.Equal(want.date) {
			t.Errorf("got %+v, what was signed says %+v", r, want)
		}
	})
}

var debtestNow = func() time.Time { return debtest.Now }

// Stanzas that are read are found again in what they were read from; fields
// have no blank lines.
//
//fuzz:parser paragraph.go package.go
func FuzzParagraphs(f *testing.F) {
	f.Add("A: b\n c\n\nD: e\n")
	f.Add(control + "\n" + control)
	f.Add("Package: x\nVersion: 1\nDepends: a (>= 1) | b, c:any\nProvides: d (= 2)\nSize: 5\nSHA256: " + strings.Repeat("a", 64) +
		"\nFilename: pool/x.deb\nPriority: important\nConflicts: e (<< 1)\n")
	f.Fuzz(func(t *testing.T, text string) {
		var read []Paragraph
		for p, err := range Paragraphs(strings.NewReader(text)) {
			if err != nil {
				return
			}
			if strings.Contains(strings.Trim(string(p), "\n"), "\n\n") || !strings.Contains(text, string(p)) {
				t.Errorf("stanza %q", p)
			}
			read = append(read, p)
			checkPackage(t, &Package{Name: p.Get("Package"), Version: p.Get("Version"), Suite: "s", Control: p})
		}
		var joined strings.Builder
		for _, p := range read {
			joined.WriteString(strings.TrimRight(string(p), "\n") + "\n\n")
		}
		n := 0
		for p, err := range Paragraphs(strings.NewReader(joined.String())) {
			if err != nil || strings.TrimRight(string(p), "\n") != strings.TrimRight(string(read[n]), "\n") {
				t.Fatalf("stanza %d was %q and reads back as %q, %v", n, read[n], p, err)
			}
			n++
		}
	})
}

func checkPackage(t *testing.T, p *Package) {
	if pin, err := p.Pin(); err == nil && (leaves(pin.Path) || pin.Size <= 0 || pin.Check() != nil) {
		t.Errorf("pinned %+v", pin)
	}
	relations, err := p.parsed("amd64")
	if err != nil {
		return
	}
	for _, r := range relations.provides {
		if r.Op == "" && !p.satisfies(Relation{Name: r.Name}, "amd64") {
			t.Errorf("%s does not satisfy what it provides, %s", p, r)
		}
	}
}

// What both we and pault.ag/go/debian read is read alike.
//
//fuzz:parser relation.go
func FuzzRelations(f *testing.F) {
	f.Add("a (>= 1) [amd64] <x> | b:any, c")
	f.Add("libc6 (>= 2.36), libgcc-s1 (>> 3.0) | libgcc1 (<< 1:4.2~rc1-2), default-mta | mail-transport-agent")
	f.Add("a [!i386] | b [linux-any], c <!nocheck> <cross>, d (< 1)")
	f.Fuzz(func(t *testing.T, text string) {
		groups, err := parseRelations(text, "amd64")
		if err != nil {
			return
		}
		for _, g := range groups {
			for _, r := range g {
				checkRelation(t, r)
			}
		}
		if theirs, err := dependency.Parse(text); err == nil && isPlain(text) {
			compareGroups(t, groups, theirs)
		}
	})
}

// isPlain says that a field has nothing that pault.ag/go/debian keeps in names:
// blanks other than the space. Lists of architectures and profiles it leaves
// for others to judge, and "$" begins a variable.
func isPlain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune("[<$", r) })
}

func checkRelation(t *testing.T, r Relation) {
	if r.Name == "" || (r.Op == "") != (r.Version == "") {
		t.Errorf("got %+v", r)
	}
	again, err := parseRelations(r.String(), "amd64")
	if err != nil || len(again) != 1 || len(again[0]) != 1 || again[0][0] != r {
		t.Errorf("%s reads back as %v, %v", r, again, err)
	}
	if r.Op == "=" && !r.admits(r.Version) || r.Op == "<<" && r.admits(r.Version) {
		t.Errorf("%s and its own version: %t", r, r.admits(r.Version))
	}
}

func compareGroups(t *testing.T, groups [][]Relation, theirs *dependency.Dependency) {
	var got, want []string
	for _, g := range groups {
		for _, r := range g {
			got = append(got, r.Name)
		}
	}
	for _, r := range theirs.Relations {
		for _, p := range r.Possibilities {
			want = append(want, strings.TrimSpace(p.Name))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, pault.ag/go/debian %q", got, want)
	}
}

// Every source has a URI that can be asked for, and a suite.
//
//fuzz:parser source.go:uncomment,oneLine,deb822,withHTTP,firstMirror,archives,kind,dedupe
func FuzzSources(f *testing.F) {
	f.Add("deb [a=b] http://x y z # c\n#deb http://no y z\ndeb-src http://x y z\n", "Types: deb\nURIs: http://x\nSuites: y\nComponents: main\n")
	f.Add("deb mirror+file:/etc/apt/mirrors/debian.list bookworm main\n",
		"Types: deb deb-src\nURIs: mirror+file:/etc/apt/../m https://b/\nSuites: bookworm bookworm-updates\nComponents: main\nEnabled: no\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		read := append(oneLine(uncomment([]byte(list))), deb822(uncomment([]byte(sources)))...)
		read = slices.DeleteFunc(read, func(s Source) bool { // which would be a file of this machine, or a device
			file, ok := strings.CutPrefix(s.URI, "mirror+file:")
			return ok && (!strings.HasPrefix(file, "/etc/apt/") || strings.Contains(file, ".."))
		})
		for _, s := range withHTTP("testdata", read) {
			if !strings.HasPrefix(s.URI, "http") || strings.HasSuffix(s.URI, "/") || s.Suite == "" || strings.ContainsAny(s.URI+s.Suite, " \n") {
				t.Errorf("got %+v", s)
			}
		}
		a := &Archive{cfg: Config{Sources: read, Components: []string{"main"}}}
		for _, suite := range []string{"bookworm", "bookworm-security"} {
			if roots := a.archives(suite); len(roots) > len(read) {
				t.Errorf("%d archives of %d sources", len(roots), len(read))
			}
		}
	})
}
