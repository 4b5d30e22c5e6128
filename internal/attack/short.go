package attack

import "regexp"

var longHex = regexp.MustCompile(`\b([0-9a-f]{8})[0-9a-f]{24,}\b`)

// Short is a reason for people: of a digest they compare the beginning.
func Short(reason string) string { return longHex.ReplaceAllString(reason, "$1…") }
