package cosign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"holdfast/internal/input"
)

// errUnknown is what take returns for a field that it does not know.
var errUnknown = errors.New("not known")

// fields gives each field of a JSON object to take. Names are compared as they
// are written, and no field may be there twice: encoding/json would take Type
// for type, and the last of two.
func fields(raw []byte, take func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return cause(err, "want a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return cause(err, "want a name")
		}
		if seen[name] {
			return fmt.Errorf("field %.80q: is there twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("field %.80q: %w", name, input.Cut(input.Explain(err)))
		}
		if err := take(name, value); err != nil {
			return fmt.Errorf("field %.80q: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return cause(err, "")
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something follows the JSON object")
	}
	return nil
}

func cause(err error, otherwise string) error {
	if err == nil {
		return errors.New(otherwise)
	}
	return input.Cut(input.Explain(err))
}

// word reads a string that is not empty.
func word(raw []byte, into *string) error {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil || *s == "" {
		return errors.New("want a string")
	}
	*into = *s
	return nil
}

// list reads base64, or a list.
func list[T any](raw []byte, into *T) error {
	if bytes.Equal(raw, []byte("null")) {
		return errors.New("is null")
	}
	return input.Explain(json.Unmarshal(raw, into))
}
