package sbom

import (
	"regexp"
	"slices"
	"strings"
)

// spdxNames are the short names of debian/copyright that SPDX calls otherwise:
// https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/#license-short-name
var spdxNames = map[string]string{
	"apache-2.0": "Apache-2.0", "artistic-2.0": "Artistic-2.0",
	"bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause",
	"bsl-1.0": "BSL-1.0", "cc0-1.0": "CC0-1.0", "expat": "MIT", "isc": "ISC", "zlib": "Zlib",
	"mpl-1.1": "MPL-1.1", "mpl-2.0": "MPL-2.0", "openssl": "OpenSSL", "python-2.0": "Python-2.0",
}

// gnu are the licences that exist as "this version" and "or later".
var gnu = regexp.MustCompile(`^(a?gpl|lgpl|gfdl)-([0-9](?:\.[0-9])?)(?:\.0)?(\+?)$`)

// Licence reads a machine-readable debian/copyright. It is an SPDX expression
// when every licence in it has an SPDX name, and "" otherwise: half an answer
// would be a wrong one.
func Licence(copyright []byte) string {
	text := string(copyright)
	head, _, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(head, "Format:") || !strings.Contains(head, "copyright-format/1.0") {
		return ""
	}
	var all []string
	for line := range strings.Lines(text) {
		names, ok := strings.CutPrefix(line, "License:")
		if !ok {
			continue
		}
		expression := translate(strings.TrimSpace(names))
		if expression == "" {
			return ""
		}
		all = append(all, expression)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " AND ")
}

// translate makes "GPL-2+ or Expat" into "(GPL-2.0-or-later OR MIT)".
func translate(names string) string {
	var out []string
	for _, word := range strings.Fields(names) {
		switch word {
		case "or", "and":
			out = append(out, strings.ToUpper(word))
		default:
			name := spdxName(strings.ToLower(word))
			if name == "" || len(out)%2 == 1 { // two names in a row
				return ""
			}
			out = append(out, name)
		}
	}
	if len(out)%2 == 0 || slices.Contains(out, "OR") && slices.Contains(out, "AND") { // what binds how is not said
		return ""
	}
	if len(out) == 1 {
		return out[0]
	}
	return "(" + strings.Join(out, " ") + ")"
}

func spdxName(short string) string {
	m := gnu.FindStringSubmatch(short)
	if m == nil {
		return spdxNames[short]
	}
	version, suffix := m[2], "-only"
	if !strings.Contains(version, ".") {
		version += ".0"
	}
	if m[3] == "+" {
		suffix = "-or-later"
	}
	return strings.ToUpper(m[1]) + "-" + version + suffix
}
