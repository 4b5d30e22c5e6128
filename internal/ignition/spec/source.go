package spec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"
	"github.com/coreos/vcontext/tree"

	places "github.com/coreos/vcontext/json"
)

// A source is the text of a config, and where in it everything stands.
type source struct {
	name  string
	raw   []byte
	whole bool      // it is JSON
	root  tree.Node // once somebody asked for a place
}

func newSource(name string, raw []byte) *source { return &source{name: name, raw: raw} }

// scan refuses what nests deeper than any config, and tells keys that appear
// twice, of which upstream takes the later. What is not JSON is left to the
// parser to tell.
func (s *source) scan() ([]Finding, error) {
	d := json.NewDecoder(bytes.NewReader(s.raw))
	var open []*object
	var odd []Finding
	for {
		token, err := d.Token()
		if err != nil {
			return odd, s.ended(err)
		}
		if delim, ok := token.(json.Delim); ok {
			if delim == '}' || delim == ']' {
				open = open[:len(open)-1]
				continue
			}
			if len(open) > 0 {
				open[len(open)-1].next("")
			}
			open = append(open, newObject(delim))
		} else if top := len(open) - 1; top >= 0 {
			word, _ := token.(string)
			if open[top].next(word) {
				odd = append(odd, s.twice(d.InputOffset(), word))
			}
		}
		if len(open) > maxDepth {
			f := s.offset(d.InputOffset())
			f.Problem, f.Want = fmt.Sprintf("nests deeper than %d", maxDepth), "a config"
			return nil, &InvalidError{[]Finding{f}}
		}
	}
}

// ended keeps whether the text is JSON to its end.
func (s *source) ended(end error) error {
	s.whole = errors.Is(end, io.EOF)
	return nil
}

// tree is where everything stands, nil for what is not JSON. Most configs have
// nothing to tell of, and it is several times their size.
func (s *source) tree() tree.Node {
	if s.whole && s.root == nil {
		s.root, _ = places.UnmarshalToContext(s.raw)
	}
	return s.root
}

// An object is one that is being read; an array has no keys.
type object struct {
	keys    map[string]bool
	isValue bool // what comes next is a key's value
}

func newObject(d json.Delim) *object {
	if d == '[' {
		return &object{}
	}
	return &object{keys: map[string]bool{}}
}

// next takes a key or a value, and says whether it is a key for the second time.
func (o *object) next(word string) (twice bool) {
	if o.keys == nil {
		return false
	}
	if o.isValue = !o.isValue; !o.isValue {
		return false
	}
	twice = o.keys[word]
	o.keys[word] = true
	return twice
}

func (s *source) twice(offset int64, key string) Finding {
	f := s.offset(offset)
	f.Severity, f.Problem, f.Want = severityWarning, fmt.Sprintf("the key %.60q appears twice in one object, and the later one counts", key), "each key once"
	return f
}

func (s *source) version() string {
	var stub struct{ Ignition struct{ Version string } }
	_ = json.Unmarshal(s.raw, &stub) // was parsed, or is empty
	return stub.Ignition.Version
}

// at is a finding at a path, or at the nearest thing above that is there.
func (s *source) at(elements []any) Finding {
	f := Finding{Severity: severityError, File: s.name, Path: jsonPath(elements)}
	root := s.tree()
	if root == nil {
		return f
	}
	for c := path.New("json", elements...); ; c = c.Pop() {
		if n, err := root.Get(c); err == nil {
			f.Line, f.Column = s.position(max(start(n), 0))
			return f
		}
		if c.Len() == 0 {
			return f
		}
	}
}

// offset is a finding at what ends behind offset.
func (s *source) offset(offset int64) Finding {
	f := Finding{Severity: severityError, File: s.name, Path: "$"}
	f.Line, f.Column = s.position(max(offset-1, 0))
	return f
}

// position counts lines and columns, in bytes from 1.
func (s *source) position(index int64) (line, column int64) {
	before := s.raw[:min(index, int64(len(s.raw)))]
	return int64(bytes.Count(before, []byte("\n"))) + 1, int64(len(before) - bytes.LastIndexByte(before, '\n'))
}

// refused is the path of the value at which the JSON parser stopped: behind its
// bracket for an array or object, and behind its end for all others.
func refused(n tree.Node, offset int64) ([]any, bool) {
	var children map[any]tree.Node
	switch n := n.(type) {
	case tree.MapNode:
		children = make(map[any]tree.Node, len(n.Children))
		for key, child := range n.Children {
			children[key] = child
		}
	case tree.SliceNode:
		children = make(map[any]tree.Node, len(n.Children))
		for i, child := range n.Children {
			children[i] = child
		}
	case tree.Leaf:
		return nil, n.EndP != nil && n.EndP.Index == offset-1
	default:
		return nil, false
	}
	for key, child := range children {
		if path, ok := refused(child, offset); ok {
			return append([]any{key}, path...), true
		}
	}
	return nil, start(n) == offset-1
}

// start is the index of a value's first byte, -1 for none. The tree has that of
// the byte behind for arrays and objects.
func start(n tree.Node) int64 {
	m := n.GetMarker()
	if m.StartP == nil {
		return -1
	}
	if _, leaf := n.(tree.Leaf); leaf {
		return m.StartP.Index
	}
	return m.StartP.Index - 1
}

// findings gives a report's entries their places and words.
func (s *source) findings(r report.Report) []Finding {
	var list []Finding
	for _, e := range r.Entries {
		if f, ok := s.unreadable(e); ok {
			list = append(list, f)
			continue
		}
		f := s.at(e.Context.Path)
		f.Severity = e.Kind.String()
		f.Problem, f.Want = tell(e.Message, f.Path)
		if _, ok := s.fileURL(e); ok {
			f = s.at(sourcePath(e))
			f.Problem, f.Want = "names a file, and the config did not come from a folder or volume of the machine", byMessage[e.Message]
			if slices.Contains(list, f) {
				continue
			}
		}
		list = append(list, f)
	}
	slices.SortStableFunc(list, byPlace) // upstream walks keys in no order
	return list
}

func byPlace(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Path, b.Path))
}

var (
	wrongType = regexp.MustCompile(`^json: cannot unmarshal (\w+).* of type (\S+)$`)
	badSyntax = regexp.MustCompile(`^(unexpected end of JSON input|invalid character .* (in|after|looking for) .*)$`)
)

// unreadable tells what the JSON parser refused: its own words hold values.
func (s *source) unreadable(e report.Entry) (Finding, bool) {
	if e.Context.Len() > 0 {
		return Finding{}, false
	}
	var offset int64
	if e.Marker.StartP != nil {
		offset = e.Marker.StartP.Index
	}
	if m := wrongType.FindStringSubmatch(e.Message); m != nil {
		path, _ := refused(s.tree(), offset)
		f := s.at(path)
		f.Problem, f.Want = "is "+withArticle(m[1]), kindOf(m[2])
		return f, true
	}
	if !badSyntax.MatchString(e.Message) {
		return Finding{}, false
	}
	f := s.offset(offset)
	f.Problem, f.Want = "is not JSON", "JSON without comments or trailing commas"
	if e.Message == "unexpected end of JSON input" {
		f.Line, f.Column = s.position(int64(len(s.raw)))
		f.Problem, f.Want = "ends before it is whole", `the closing "}"`
	}
	return f, true
}
