package sbom

import (
	"fmt"
	"strings"

	"holdfast/internal/deb"
)

// DebianPURL names a Debian package for other tools:
// https://github.com/package-url/purl-spec/blob/main/types-doc/deb-definition.md
func DebianPURL(p deb.Pin) string {
	return "pkg:deb/debian/" + escape(p.Name) + "@" + escape(p.Version) + "?arch=" + escape(p.Architecture) + "&distro=" + escape(p.Suite)
}

// GoPURL names a Go module, or a package in it when sub is not empty. Both
// parts of a module's path are in lower case, as the type wants it:
// https://github.com/package-url/purl-spec/blob/main/types-doc/golang-definition.md
func GoPURL(module, version, sub string) string {
	parts := strings.Split(strings.ToLower(module), "/")
	for i := range parts {
		parts[i] = escape(parts[i])
	}
	purl := "pkg:golang/" + strings.Join(parts, "/")
	if version != "" {
		purl += "@" + escape(version)
	}
	if sub != "" {
		purl += "#" + sub
	}
	return purl
}

// escape leaves what the specification's "Character encoding" lets stand.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-_~:", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
