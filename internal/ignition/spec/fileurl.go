package spec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	ign "github.com/coreos/ignition/v2/config/shared/errors"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"
	"github.com/coreos/vcontext/tree"
)

// mask goes before a file URL while upstream's parser looks at it, which knows
// no such scheme. No server has the name (RFC 6761, 6.4).
const mask = "tftp://file.invalid/"

func isFileURL(source string) bool { return len(source) >= 5 && strings.EqualFold(source[:5], "file:") }

// fileURL is where the text has a source that upstream refuses for being a file
// URL.
func (s *source) fileURL(e report.Entry) (start int64, ok bool) {
	if e.Message != ign.ErrInvalidScheme.Error() || s.tree() == nil {
		return 0, false
	}
	n, err := s.tree().Get(path.New("json", sourcePath(e)...))
	leaf, ok := n.(tree.Leaf)
	if err != nil || !ok || leaf.StartP == nil {
		return 0, false
	}
	text, _ := s.text(leaf.StartP.Index)
	return leaf.StartP.Index, isFileURL(text)
}

// sourcePath is the path of a source: some of upstream's checks name the
// resource that has it.
func sourcePath(e report.Entry) []any {
	last := e.Context.Len() - 1
	if last < 0 || e.Context.Path[last] == "source" {
		return e.Context.Path
	}
	return append(slices.Clone(e.Context.Path), "source")
}

// text is the string that begins at start, and where it ends.
func (s *source) text(start int64) (text string, end int64) {
	d := json.NewDecoder(bytes.NewReader(s.raw[start:]))
	_ = d.Decode(&text) // what is no string is empty
	return text, start + d.InputOffset()
}

// fileURLs are where in the text they begin, the last first.
func (s *source) fileURLs(r report.Report) []int64 {
	var starts []int64
	for _, e := range r.Entries {
		if start, ok := s.fileURL(e); ok {
			starts = append(starts, start)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	slices.Reverse(starts)
	return starts
}

// masked is the text with the mask in the strings that begin at starts.
func (s *source) masked(starts []int64) []byte {
	out := slices.Clone(s.raw)
	for _, start := range starts {
		text, end := s.text(start)
		quoted, _ := json.Marshal(mask + text)
		out = slices.Replace(out, int(start), int(end), quoted...)
	}
	return out
}

// unmask takes the mask off again.
func unmask(c *Config) {
	eachSource(reflect.ValueOf(c).Elem(), func(source string) string { return strings.TrimPrefix(source, mask) })
}

// asMasked gives upstream a config that names files, for as long as it looks.
func asMasked(c *Config, look func(Config)) {
	eachSource(reflect.ValueOf(c).Elem(), func(source string) string {
		if isFileURL(source) {
			return mask + source
		}
		return source
	})
	defer unmask(c)
	look(*c)
}

// eachSource sets the sources of all resources below v.
func eachSource(v reflect.Value, set func(string) string) {
	switch v.Kind() {
	case reflect.Struct:
		if r, ok := v.Addr().Interface().(*types.Resource); ok {
			if r.Source != nil {
				if text := set(*r.Source); text != *r.Source {
					r.Source = &text // configs that were merged share the other
				}
			}
			return
		}
		for i := range v.NumField() {
			eachSource(v.Field(i), set)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachSource(v.Index(i), set)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			eachSource(v.Elem(), set)
		}
	}
}
