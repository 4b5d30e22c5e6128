package broker

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
)

// maxDepth bounds what strangers nest; our messages have a tenth of it.
const maxDepth = 100

// exactly decodes JSON by the very letters of its names, each of which may
// stand once, as Trustee's serde does. encoding/json takes "ISS", and even
// "iſs", for "iss", and of two the last: then another reader of the same bytes
// reads something else.
func exactly(raw []byte, into any) error {
	if deep(raw) {
		return fmt.Errorf("json: it is nested more than %d deep", maxDepth)
	}
	return json.Unmarshal(raw, into)
}

// deep looks without recursion, which the decoder cannot.
func deep(raw []byte) bool {
	if bytes.Count(raw, []byte{'['})+bytes.Count(raw, []byte{'{'}) <= maxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(raw) && depth <= maxDepth; i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
	}
	return depth > maxDepth
}
