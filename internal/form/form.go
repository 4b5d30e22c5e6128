// Package form reads YAML documents that people write.
//
// A document is read strictly: a key that nobody knows, a key twice, a second
// document and a value of another kind are each refused, in words of the
// document and with the line where it stands.
package form

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"holdfast/internal/nearest"
)

// A LineError is at a line of the document. Like all errors of this package
// it begins with ":LINE: " or ": ", to follow a file's name.
type LineError struct {
	Line int
	Text string
}

func (e *LineError) Error() string { return fmt.Sprintf(":%d: %s", e.Line, e.Text) }

// At makes a LineError.
func At(line int, format string, args ...any) error {
	return &LineError{line, fmt.Sprintf(format, args...)}
}

// Decode reads one document into a struct. Types are the further structs that
// it consists of: for them unknown keys are answered by the nearest known one.
func Decode(b []byte, into any, types ...any) error {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	known := append([]any{reflect.ValueOf(into).Elem().Interface()}, types...)
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New(": the file is empty")
		}
		return explain(err, known)
	}
	if err := d.Decode(new(yaml.Node)); err != io.EOF {
		return errors.New(": want one YAML document, there is more behind it")
	}
	return nil
}

// The messages of yaml.v3 that are told better here.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type ([\w.]+)$`)
	wrongType  = regexp.MustCompile("^line (\\d+): cannot unmarshal !!(\\w+)(?: (`.*`))? into (.*)$")
	atLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
)

// explain makes yaml.v3's errors a person's.
func explain(err error, known []any) error {
	var several *yaml.TypeError
	if errors.As(err, &several) && len(several.Errors) > 0 {
		return explainText(several.Errors[0], known)
	}
	var line *LineError
	if errors.As(err, &line) {
		return line
	}
	return explainText(err.Error(), known)
}

func explainText(text string, known []any) error {
	if m := unknownKey.FindStringSubmatch(text); m != nil {
		return fmt.Errorf(":%s: unknown key %q%s", m[1], m[2], nearest.Hint(m[2], maps.Keys(keysOf(m[3], known))))
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		found := cmp.Or(strings.Trim(m[3], "`"), map[string]string{"map": "keys with values", "seq": "a list"}[m[2]], m[2])
		return fmt.Errorf(":%s: found %s, want %s", m[1], found, kindName(m[4]))
	}
	if m := atLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf(":%s: %s", m[1], m[2])
	}
	return fmt.Errorf(": %s", strings.TrimPrefix(text, "yaml: "))
}

// keysOf gives the keys of a type by the name that yaml.v3 gives it, such as
// "recipe.User".
func keysOf(name string, known []any) map[string]bool {
	keys := map[string]bool{}
	for _, v := range known {
		if t := reflect.TypeOf(v); t.String() == name {
			for i := range t.NumField() {
				key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
				keys[key] = true
			}
		}
	}
	delete(keys, "")
	return keys
}

func kindName(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "map["), strings.Contains(goType, "."):
		return "keys with values"
	default:
		return "text"
	}
}
