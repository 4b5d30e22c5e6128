package recipe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"holdfast/internal/deb"
	"holdfast/internal/nearest"
)

// A lineError is at a line of the file.
type lineError struct {
	line int
	text string
}

func (e *lineError) Error() string { return fmt.Sprintf(":%d: %s", e.line, e.text) }

// The messages of yaml.v3 that are told better here.
var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (.*) not found in type ([\w.]+)$`)
	wrongType  = regexp.MustCompile("^line (\\d+): cannot unmarshal !!(\\w+)(?: (`.*`))? into (.*)$")
	atLine     = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)$`)
)

// explain makes yaml.v3's errors a person's: ":LINE: what is wrong".
func explain(err error) error {
	var several *yaml.TypeError
	if errors.As(err, &several) && len(several.Errors) > 0 {
		return explainText(several.Errors[0])
	}
	var line *lineError
	if errors.As(err, &line) {
		return line
	}
	return explainText(err.Error())
}

func explainText(text string) error {
	if m := unknownKey.FindStringSubmatch(text); m != nil {
		return fmt.Errorf(":%s: unknown key %q%s", m[1], m[2], nearest.Hint(m[2], maps.Keys(keysOf(m[3]))))
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

// keysOf gives the keys of a type of this package by the name that yaml.v3
// gives it, such as "recipe.User".
func keysOf(name string) map[string]bool {
	keys := map[string]bool{}
	for _, v := range []any{Recipe{}, User{}, Group{}, Directory{}, File{}, Link{}, Program{}, OCI{}, Machine{},
		Init{}, Lock{}, Index{}, deb.Pin{}} {
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
	case strings.HasPrefix(goType, "map["), strings.HasPrefix(goType, "recipe."), strings.HasPrefix(goType, "deb."):
		return "keys with values"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	default:
		return "text"
	}
}
