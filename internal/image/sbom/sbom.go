// Package sbom writes what an image is made of as an SPDX 2.3 document, which
// other tools read: https://spdx.github.io/spdx-spec/v2.3/
//
// Each package is named by what its own control file says and by the digest of
// the file it came in, each Go program by what its build left in it. The same
// image has the same document: its date is the lock's, and its namespace is
// the digest of what it says.
package sbom

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/internal/deb"
	"holdfast/internal/oci"
)

// MediaType is what IANA registered for SPDX documents in JSON.
const MediaType = "application/spdx+json"

// Contents are what an image is made of.
type Contents struct {
	Name     string     // of the recipe
	Date     time.Time  // of the lock
	Digest   oci.Digest // of the image's manifest, or of a machine image's disk
	Purpose  string     // SPDX's primaryPackagePurpose: CONTAINER or OPERATING_SYSTEM
	Packages []Package
	Programs []Program
	Files    []File
}

// A Package is a Debian package as it was unpacked.
type Package struct {
	Pin     deb.Pin
	Control deb.Paragraph
	Licence string // an SPDX licence expression, or ""; see Licence
}

// A Program was built with Go.
type Program struct {
	Path string // in the image
	Sums Sums
	Info *buildinfo.BuildInfo
}

// A File is what the recipe adds itself.
type File struct {
	Path string // without a leading slash
	Sums Sums
}

// Sums are the digests that SPDX wants of a file; SHA-1 is not for security.
type Sums struct{ SHA1, SHA256 string }

// Sum reads r to its end.
func Sum(r io.Reader) (Sums, error) {
	one, two := sha1.New(), sha256.New()
	_, err := io.Copy(io.MultiWriter(one, two), r)
	return Sums{hex.EncodeToString(one.Sum(nil)), hex.EncodeToString(two.Sum(nil))}, err
}

// Write gives the document as JSON.
func Write(c Contents) ([]byte, error) {
	d := newDocument(c)
	for _, p := range c.Packages {
		d.addPackage(p)
	}
	for _, p := range c.Programs {
		d.addProgram(p)
	}
	d.addFiles(c)
	if err := d.setNamespace(); err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false) // people read purls in it
	err := e.Encode(d)
	return raw.Bytes(), err
}

func newDocument(c Contents) *document {
	d := &document{
		SPDXID: "SPDXRef-DOCUMENT", Version: "SPDX-2.3", License: "CC0-1.0", Name: c.Name,
		Creation: creation{Created: c.Date.UTC().Format(time.RFC3339), Creators: []string{"Tool: holdfast-1"}},
		Packages: []spdxPackage{{
			SPDXID: imageID, Name: c.Name, Version: string(c.Digest), Location: none, Purpose: c.Purpose,
			Checksums: sha256Of(c.Digest.Hex()), Concluded: none, Declared: none, Copyright: none,
		}},
	}
	d.relate(d.SPDXID, "DESCRIBES", imageID)
	return d
}

// addPackage names Debian as the supplier, whose key signed the index.
func (d *document) addPackage(p Package) {
	id := "SPDXRef-deb-" + clean(p.Control.Get("Package"))
	if d.has(id) {
		return // kernel and tree may share one
	}
	declared := none
	if p.Licence != "" {
		declared = p.Licence
	}
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: p.Control.Get("Package"), Version: p.Control.Get("Version"), FileName: p.Pin.Path,
		Supplier: "Organization: Debian", Originator: maintainer(p.Control.Get("Maintainer")), Location: none,
		Homepage: p.Control.Get("Homepage"), Checksums: sha256Of(p.Pin.SHA256),
		Concluded: none, Declared: declared, Copyright: none,
		References: []reference{{"PACKAGE-MANAGER", "purl", DebianPURL(p.Pin)}},
	})
	d.relate(imageID, "CONTAINS", id)
}

func maintainer(field string) string {
	name, rest, _ := strings.Cut(field, " <")
	if name == "" {
		return ""
	}
	return fmt.Sprintf("Organization: %s (%s)", name, strings.TrimSuffix(rest, ">"))
}

// addProgram lists the program and the modules that are linked into it.
func (d *document) addProgram(p Program) {
	id := "SPDXRef-go-program-" + clean(p.Path)
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: p.Info.Path, Version: version(p.Info.Main.Version), FileName: p.Path, Location: none,
		Purpose: "APPLICATION", Checksums: sha256Of(p.Sums.SHA256), Concluded: none, Declared: none, Copyright: none,
		References: []reference{{"PACKAGE-MANAGER", "purl", GoPURL(p.Info.Main.Path, version(p.Info.Main.Version), strings.TrimPrefix(strings.TrimPrefix(p.Info.Path, p.Info.Main.Path), "/"))}},
	})
	d.relate(imageID, "CONTAINS", id)
	d.addModule(id, "stdlib", strings.TrimPrefix(p.Info.GoVersion, "go"), "")
	for _, m := range Modules(p.Info) {
		d.addModule(id, m.Path, m.Version, m.Sum)
	}
}

func (d *document) addModule(program, path, version, sum string) {
	purl := GoPURL(path, version, "")
	hash := sha256.Sum256([]byte(purl)) // two modules may look alike when cleaned
	id := fmt.Sprintf("SPDXRef-go-%s-%x", clean(path), hash[:4])
	if !d.has(id) {
		p := spdxPackage{
			SPDXID: id, Name: path, Version: version, Location: none, Purpose: "LIBRARY",
			Concluded: none, Declared: none, Copyright: none,
			References: []reference{{"PACKAGE-MANAGER", "purl", purl}},
		}
		if sum != "" {
			p.Comment = "go.sum " + sum
		}
		d.Packages = append(d.Packages, p)
	}
	d.relate(program, "DEPENDS_ON", id)
}

// addFiles lists the recipe's own files under a package of their own: one that
// has files must have them all.
func (d *document) addFiles(c Contents) {
	if len(c.Files) == 0 {
		return
	}
	const id = "SPDXRef-recipe"
	var codes []string
	for i, f := range c.Files {
		file := fmt.Sprintf("SPDXRef-file-%d", i+1)
		d.Files = append(d.Files, spdxFile{
			SPDXID: file, Name: "./" + f.Path, Concluded: none, InFile: []string{none}, Copyright: none,
			Checksums: []checksum{{"SHA1", f.Sums.SHA1}, {"SHA256", f.Sums.SHA256}},
		})
		codes = append(codes, f.Sums.SHA1)
	}
	slices.Sort(codes)
	code := sha1.Sum([]byte(strings.Join(codes, ""))) // SPDX 2.3, 7.9
	d.Packages = append(d.Packages, spdxPackage{
		SPDXID: id, Name: "recipe " + c.Name, Location: none, Purpose: "SOURCE", Concluded: none, Declared: none, Copyright: none,
		FilesAnalyzed: true, Verification: &verification{hex.EncodeToString(code[:])}, FromFiles: []string{none},
	})
	d.relate(imageID, "CONTAINS", id)
	for _, f := range d.Files {
		d.relate(id, "CONTAINS", f.SPDXID)
	}
}

// setNamespace makes the document's name that of all it says.
func (d *document) setNamespace() error {
	raw, err := json.Marshal(d)
	if err != nil {
		return err
	}
	d.Namespace = "urn:holdfast:sbom:" + string(oci.SHA256(raw))
	return nil
}

func version(v string) string {
	if v == "(devel)" {
		return ""
	}
	return v
}

// Modules are those linked into a program, as they were replaced.
func Modules(info *buildinfo.BuildInfo) []Module {
	var list []Module
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		list = append(list, Module{m.Path, m.Version, m.Sum})
	}
	return list
}

// A Module by its version and its sum as go.sum has it, "h1:…".
type Module struct{ Path, Version, Sum string }
