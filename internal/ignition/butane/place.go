package butane

import (
	"strings"
	"unicode"

	"github.com/coreos/vcontext/path"
	places "github.com/coreos/vcontext/yaml"
	"gopkg.in/yaml.v3"

	"holdfast/internal/ignition/spec"
)

// Place finds where a path of the translated config stands in the Butane text,
// or the nearest thing above that is there: Butane has Ignition's names in
// another case. line is one of the text that stands there, from 1; 0 for none. It
// is left when the finding's own line tells it.
func Place(name string, text []byte, ignition []any, line int) (f spec.Finding, left int) {
	elements := make([]any, len(ignition))
	for i, e := range ignition {
		elements[i] = e
		if word, ok := e.(string); ok {
			elements[i] = snake(word)
		}
	}
	f = spec.Place(name, nil, elements)
	root, err := places.UnmarshalToContext(text)
	if err != nil {
		return f, line // it was translated: not to be seen
	}
	for at := path.New("yaml", elements...); ; at = at.Pop() {
		if n, err := root.Get(at); err == nil {
			m := n.GetMarker()
			f.Line, f.Column = m.Start()
			f.Path = spec.Path(at.Path)
			if line > 0 && at.Len() == len(elements) && literal(text, f.Line) {
				f.Line, f.Column, line = f.Line+int64(line), 1, 0
			}
			return f, line
		}
		if at.Len() == 0 {
			return f, line
		}
	}
}

// snake writes shouldExist as should_exist.
func snake(word string) string {
	var b strings.Builder
	for _, r := range word {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// literal says whether a block of text that keeps its lines begins on a line.
func literal(text []byte, line int64) bool {
	lines := strings.SplitN(string(text), "\n", int(line)+1)
	if int64(len(lines)) < line {
		return false
	}
	words := strings.Fields(lines[line-1])
	return len(words) > 0 && strings.HasPrefix(words[len(words)-1], "|")
}

// Holdfast is the variant for machines of Holdfast.
const Holdfast = "holdfast"

// Variant is what a Butane text says that it is, "" for none.
func Variant(text []byte) string {
	variant, _ := head(text)
	return variant
}

func head(text []byte) (variant, version string) {
	var h struct {
		Variant string `yaml:"variant"`
		Version string `yaml:"version"`
	}
	_ = yaml.Unmarshal(text, &h) // what is no YAML has no variant
	return h.Variant, h.Version
}
