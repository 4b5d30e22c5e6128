package enc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxAnnotation bounds one annotation's value; ours are about 1 KiB.
const maxAnnotation = 1 << 20

// decodeBase64 takes the standard alphabet with padding, as guest-components
// does, and refuses second spellings of the same bytes.
func decodeBase64(s string) ([]byte, error) {
	if len(s) > maxAnnotation {
		return nil, fmt.Errorf("%d bytes are too many", len(s))
	}
	if strings.ContainsAny(s, "\r\n") { // which the decoder skips, strict or not
		return nil, errors.New("it has line breaks")
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

// decodeExact reads a JSON object whose names are all among the given ones,
// case and all: encoding/json alone would also take "CIPHER" for "cipher".
func decodeExact(raw []byte, to any, names ...string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	for name := range fields {
		if !slices.Contains(names, name) {
			return fmt.Errorf("unknown name %.40q", name)
		}
	}
	return json.Unmarshal(raw, to)
}

// strictBytes are bytes that JSON carries in base64, in its one spelling.
type strictBytes []byte

func (b *strictBytes) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	decoded, err := decodeBase64(s)
	*b = decoded
	return err
}
