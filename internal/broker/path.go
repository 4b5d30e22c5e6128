package broker

import (
	"fmt"
	"net/url"
	"strings"
)

// A Resource is the path of a resource: REPOSITORY/TYPE/TAG. Each part is
// letters, digits, "_", "-" and, but for its first character, ".": the set
// that Trustee allows (kbs/src/plugins/implementations/resource/backend.rs).
type Resource string

// maxPart bounds a part of a path, so that it can be a file's name.
const maxPart = 128

// ParseResource reads a path, or a kbs:/// URI of one.
func ParseResource(text string) (Resource, error) {
	path := text
	if u, err := url.Parse(text); err == nil && u.Scheme == "kbs" && u.Host == "" {
		path = strings.TrimPrefix(u.Path, "/")
	}
	return parsePlain(path)
}

// parsePlain reads a path and nothing else: what stands in a URL already is not
// read as one again, or a resource would have several.
func parsePlain(path string) (Resource, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 3 {
		return "", fmt.Errorf("resource %q: expected REPOSITORY/TYPE/TAG", path)
	}
	for _, part := range parts {
		if !validPart(part) {
			return "", fmt.Errorf("resource %q: part %q must be 1 to %d letters, digits, '_', '-' or, not first, '.'", path, part, maxPart)
		}
	}
	return Resource(path), nil
}

func validPart(part string) bool {
	if part == "" || len(part) > maxPart || part[0] == '.' {
		return false
	}
	return strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") == ""
}
