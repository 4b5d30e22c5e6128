package sbom

import (
	"slices"
	"strings"
)

// The parts of SPDX 2.3 that are written, by the names of its JSON schema.
type document struct {
	SPDXID        string         `json:"SPDXID"`
	Version       string         `json:"spdxVersion"`
	License       string         `json:"dataLicense"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Files         []spdxFile     `json:"files,omitempty"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	SPDXID        string        `json:"SPDXID"`
	Name          string        `json:"name"`
	Version       string        `json:"versionInfo,omitempty"`
	FileName      string        `json:"packageFileName,omitempty"`
	Supplier      string        `json:"supplier,omitempty"`
	Originator    string        `json:"originator,omitempty"`
	Location      string        `json:"downloadLocation"`
	FilesAnalyzed bool          `json:"filesAnalyzed"`
	Verification  *verification `json:"packageVerificationCode,omitempty"`
	Checksums     []checksum    `json:"checksums,omitempty"`
	Homepage      string        `json:"homepage,omitempty"`
	Concluded     string        `json:"licenseConcluded"`
	FromFiles     []string      `json:"licenseInfoFromFiles,omitempty"`
	Declared      string        `json:"licenseDeclared"`
	Copyright     string        `json:"copyrightText"`
	Comment       string        `json:"comment,omitempty"`
	References    []reference   `json:"externalRefs,omitempty"`
	Purpose       string        `json:"primaryPackagePurpose,omitempty"`
}

type verification struct {
	Value string `json:"packageVerificationCodeValue"`
}

type spdxFile struct {
	SPDXID    string     `json:"SPDXID"`
	Name      string     `json:"fileName"`
	Checksums []checksum `json:"checksums"`
	Concluded string     `json:"licenseConcluded"`
	InFile    []string   `json:"licenseInfoInFiles"`
	Copyright string     `json:"copyrightText"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type reference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	imageID = "SPDXRef-image"
	none    = "NOASSERTION"
)

func (d *document) relate(from, kind, to string) {
	d.Relationships = append(d.Relationships, relationship{from, kind, to})
}

func (d *document) has(id string) bool {
	return slices.ContainsFunc(d.Packages, func(p spdxPackage) bool { return p.SPDXID == id })
}

func sha256Of(hex string) []checksum { return []checksum{{"SHA256", hex}} }

// clean makes an identifier of letters, digits, dots and hyphens, as SPDX
// wants it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '.'
	}, strings.Trim(s, "/"))
}
