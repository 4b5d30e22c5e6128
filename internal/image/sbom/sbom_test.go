package sbom

import (
	"bytes"
	"encoding/json"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"holdfast/internal/deb"
	"holdfast/internal/oci"
)

func contents(t testing.TB) Contents {
	t.Helper()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("this test has no build information")
	}
	sums, err := Sum(strings.NewReader("abc"))
	if err != nil {
		t.Fatal(err)
	}
	return Contents{
		Name: "redis", Date: time.Date(2026, 11, 14, 9, 30, 0, 0, time.FixedZone("", 3600)), Digest: oci.SHA256(nil), Purpose: "CONTAINER",
		Packages: []Package{{
			Pin:     deb.Pin{Name: "libstdc++6", Version: "1:2-1~deb+b1", Architecture: "amd64", SHA256: oci.SHA256([]byte("a")).Hex(), Path: "pool/x.deb", Suite: "bookworm"},
			Control: "Package: libstdc++6\nVersion: 1:2-1~deb+b1\nMaintainer: A Team <team@example.org>\n", Licence: "MIT",
		}},
		Programs: []Program{{Path: "usr/bin/x", Sums: sums, Info: info}},
		Files:    []File{{Path: "etc/passwd", Sums: sums}},
	}
}

func TestSameContentsAreTheSameDocumentUnderItsOwnName(t *testing.T) {
	one, err := Write(contents(t))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Write(contents(t))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Error("the same contents gave two documents")
	}
	changed := contents(t)
	changed.Packages[0].Licence = ""
	three, err := Write(changed)
	if err != nil {
		t.Fatal(err)
	}
	namespace := func(raw []byte) string {
		var d document
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		return d.Namespace
	}
	if a, b := namespace(one), namespace(three); a == b || !strings.HasPrefix(a, "urn:holdfast:sbom:sha256:") {
		t.Errorf("got namespaces %s and %s for two documents", a, b)
	}
}

// The first three are examples of the purl specification's own pages.
func TestPURLsAreTheSpecifications(t *testing.T) {
	for want, got := range map[string]string{
		"pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie":                     DebianPURL(deb.Pin{Name: "curl", Version: "7.50.3-1", Architecture: "i386", Suite: "jessie"}),
		"pkg:golang/github.com/gorilla/context@234fd47e07d1004f0aed9c":             GoPURL("github.com/gorilla/context", "234fd47e07d1004f0aed9c", ""),
		"pkg:golang/google.golang.org/genproto@abcdedf#googleapis/api/annotations": GoPURL("google.golang.org/genproto", "abcdedf", "googleapis/api/annotations"),
		"pkg:deb/debian/libstdc%2B%2B6@1:2-1~deb%2Bb1?arch=amd64&distro=bookworm":  DebianPURL(contents(t).Packages[0].Pin),
		"pkg:golang/github.com/burntsushi/toml@v1.5.0":                             GoPURL("github.com/BurntSushi/toml", "v1.5.0", ""),
		"pkg:golang/k8s.io/kubernetes@v0.0.0-20260101000000-abcdef%2Bincompatible": GoPURL("k8s.io/kubernetes", "v0.0.0-20260101000000-abcdef+incompatible", ""),
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestLicencesAreSaidWhollyOrNotAtAll(t *testing.T) {
	const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
	for copyright, want := range map[string]string{
		format + "Files: *\nLicense: GPL-2+\n text\n\nFiles: debian/*\nLicense: Expat\n": "GPL-2.0-or-later AND MIT",
		format + "License: BSD-3-clause or GPL-2\n":                                      "(BSD-3-Clause OR GPL-2.0-only)",
		format + "License: LGPL-2.1+\n":                                                  "LGPL-2.1-or-later",
		format + "License: GPL-3.0+\n":                                                   "GPL-3.0-or-later",
		format + "License: Expat\n\nFiles: x\nLicense: public-domain\n":                  "",
		format + "License: GPL-2 with OpenSSL exception\n":                               "",
		format + "License: Expat or GPL-2 and ISC\n":                                     "",
		format + "License: Expat GPL-2\n":                                                "",
		format:                                                                           "",
		"License: Expat\n":                                                               "",
		"This is free software, see GPL.\nLicense: ISC\n":                                "",
	} {
		if got := Licence([]byte(copyright)); got != want {
			t.Errorf("%q: got %q, want %q", copyright, got, want)
		}
	}
}

//fuzz:parser licence.go
func FuzzLicence(f *testing.F) {
	f.Add([]byte("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nLicense: GPL-2+ or Expat\n"))
	f.Fuzz(func(t *testing.T, copyright []byte) {
		for _, word := range strings.Fields(strings.NewReplacer("(", "", ")", "").Replace(Licence(copyright))) {
			if word != "AND" && word != "OR" && spdxName(strings.ToLower(word)) == "" && !strings.HasSuffix(word, "-only") &&
				!strings.HasSuffix(word, "-or-later") && word != "MIT" {
				t.Errorf("%q: %q is no SPDX name", copyright, word)
			}
		}
	})
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	c := contents(t)
	raw, err := Write(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	modules := map[Module]bool{} // and the program, its standard library and the one Debian package
	for _, m := range Modules(c.Programs[0].Info) {
		modules[m] = true
	}
	if b.Name != "redis" || len(b.Packages) != len(modules)+3 || b.Packages[0] != (Listed{"libstdc++6", "1:2-1~deb+b1", DebianPURL(c.Packages[0].Pin)}) {
		t.Errorf("got %+v", b)
	}
}

// A document that is accepted names no package without its purl.
//
//fuzz:parser read.go
func FuzzRead(f *testing.F) {
	raw, err := Write(contents(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:a"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Read(raw)
		if err == nil != (b != nil) {
			t.Errorf("got %v and %v", b, err)
		}
		if err == nil && strings.Count(string(raw), "{") < len(b.Packages) {
			t.Errorf("%d packages of %q", len(b.Packages), raw)
		}
	})
}
