package input

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// JSON decodes a document of one value. Its errors say what is wrong in words
// of the document, where encoding/json names Go's types.
func JSON(raw []byte, into any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return errors.New("is empty, want a JSON document")
	}
	return Explain(json.Unmarshal(raw, into))
}

// Explain puts an error of encoding/json into such words.
func Explain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("field %q holds a JSON %s, which does not belong there", kind.Field, kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("a JSON %s, which does not belong there", kind.Value)
	case errors.As(err, &syntax) && syntax.Error() == "unexpected end of JSON input":
		return fmt.Errorf("ends in the middle of a JSON document, after %d bytes", syntax.Offset)
	case errors.As(err, &syntax):
		return fmt.Errorf("is no JSON document, at byte %d: %s", syntax.Offset, syntax)
	}
	return err
}
