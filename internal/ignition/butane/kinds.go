package butane

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/vcontext/report"
	"gopkg.in/yaml.v3"
)

// unlike are the words of yaml.v3 for a value of another kind than its key has.
var unlike = regexp.MustCompile("(?s)^line (\\d+): (cannot unmarshal (!!\\w+)(?: `(.*)`)? into \\S+)$")

// lines are other ones once a value was exchanged.
var lines = regexp.MustCompile(`line \d+`)

// wrongKinds are all values of another kind than their keys have, where they
// stand; empty for another error. yaml.v3 says a line, and no more: of several
// values there, that is the one without which it does not say so.
func wrongKinds(text []byte, err error) (r report.Report) {
	var bad *yaml.TypeError
	var root yaml.Node
	if !errors.As(err, &bad) || yaml.Unmarshal(text, &root) != nil {
		return r
	}
	t := trial{root: &root, at: map[complaint][]*place{}, told: map[*yaml.Node]bool{}, left: maxTried}
	t.index(&place{node: &root})
	t.before, _ = t.complaints()
	for _, words := range bad.Errors {
		m := unlike.FindStringSubmatch(words)
		if m == nil {
			continue
		}
		line, _ := strconv.Atoi(m[1])
		c := complaint{line, m[3], m[4]}
		if fits := t.fits(c); len(fits) > 0 {
			r.Entries = append(r.Entries, t.entry(c, m[2], fits))
		}
	}
	return r
}

// A complaint is what yaml.v3 says of a value.
type complaint struct {
	line       int
	tag, value string // of a scalar, as yaml.v3 cuts it
}

// A place is a node, what it is called, and what it is within.
type place struct {
	node *yaml.Node
	name any // nil for the document and the root
	in   *place
}

func (p *place) path() (path []any) {
	for ; p != nil; p = p.in {
		if p.name != nil {
			path = append(path, p.name)
		}
	}
	slices.Reverse(path)
	return path
}

// index finds all values that there may be a complaint about.
func (t *trial) index(p *place) {
	n := p.node
	for i, inner := range n.Content {
		below := &place{node: inner, in: p}
		switch n.Kind {
		case yaml.MappingNode:
			if i%2 == 0 {
				continue
			}
			below.name = n.Content[i-1].Value
		case yaml.SequenceNode:
			below.name = i
		}
		t.index(below)
	}
	if n.Kind != yaml.DocumentNode && n.Kind != yaml.AliasNode {
		c := complaint{n.Line, n.ShortTag(), n.Value}
		if len(c.value) > 10 {
			c.value = c.value[:7] + "..."
		}
		t.at[c] = append(t.at[c], p)
	}
}

// fits are the values that it may be about, if that is not told already.
func (t *trial) fits(c complaint) []*place {
	if len(t.at[c]) > maxFits {
		return t.at[c]
	}
	if slices.ContainsFunc(t.at[c], func(p *place) bool { return t.told[p.node] && p.node.Anchor != "" }) {
		return nil // said again for an alias
	}
	return slices.DeleteFunc(slices.Clone(t.at[c]), func(p *place) bool { return t.told[p.node] })
}

const (
	maxTried = 4 << 20 // bytes of all texts that are tried
	maxFits  = 32
)

// A trial translates the text again with a value exchanged, to see what yaml.v3
// says then.
type trial struct {
	root   *yaml.Node
	at     map[complaint][]*place
	told   map[*yaml.Node]bool
	before []string // its complaints, without their lines
	left   int      // bytes
}

// entry is the complaint where it belongs; on its line where several values may
// be meant.
func (t *trial) entry(c complaint, words string, fits []*place) report.Entry {
	i := -1
	if len(fits) <= maxFits {
		i = slices.IndexFunc(fits, func(p *place) bool { return t.means(words, p.node) })
	}
	if i < 0 && t.left <= 0 && len(fits) == 1 {
		i = 0
	}
	if i < 0 {
		return entry(&yaml.Node{Line: c.line, Column: 1}, nil, "a value on this line is "+kindOfTag(c.tag)+", want another kind")
	}
	n := fits[i].node
	t.told[n] = true
	want := t.wants(words, n)
	if want == whole && tooLarge(c.tag, n.Value) {
		return entry(n, fits[i].path(), "is too large, want a whole number below 2^63")
	}
	return entry(n, fits[i].path(), "is "+kindOfTag(c.tag)+", want "+want)
}

func tooLarge(tag, value string) bool {
	f, err := strconv.ParseFloat(value, 64) // which takes no 0xffff
	return (tag == "!!int" || tag == "!!float") && (err != nil && !strings.EqualFold(value, ".nan") || f >= math.MaxInt64)
}

var nothing = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}

const whole = "a whole number"

// kinds of value, each before those that take its own.
var kinds = []struct {
	name string
	node yaml.Node
}{
	{"an object", yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}}, {"an array", yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}},
	{"a string", yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "a"}}, {"a boolean", yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"}},
	{whole, yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: "1"}},
}

// wants is the kind that yaml.v3 takes.
func (t *trial) wants(words string, n *yaml.Node) string {
	for _, k := range kinds {
		if t.blames(words, n, k.node) {
			return k.name
		}
	}
	return "another kind"
}

// means says whether a complaint is about the node and nothing within it.
func (t *trial) means(words string, n *yaml.Node) bool {
	within := n.Kind != yaml.ScalarNode && t.blames(words, n, yaml.Node{Kind: n.Kind, Tag: n.Tag})
	return !within && t.blames(words, n, nothing)
}

// blames says whether another value of the node takes the complaint away, and
// no other.
func (t *trial) blames(words string, n *yaml.Node, other yaml.Node) bool {
	was := *n
	defer func() { *n = was }()
	other.Anchor = was.Anchor
	*n = other
	after, ok := t.complaints()
	same := func(w string) bool { return w == words }
	return ok && len(after) < len(t.before) && slices.Equal(slices.DeleteFunc(after, same), slices.DeleteFunc(slices.Clone(t.before), same))
}

// complaints are those of the text as it is now, sorted; not ok when it was
// tried enough.
func (t *trial) complaints() (list []string, ok bool) {
	if t.left <= 0 {
		return nil, false
	}
	text, err := yaml.Marshal(t.root)
	if t.left -= len(text); err != nil {
		return nil, false
	}
	var bad *yaml.TypeError
	if _, _, err = (Config{}).translate(text); !errors.As(err, &bad) {
		return nil, true
	}
	for _, words := range bad.Errors {
		if m := unlike.FindStringSubmatch(words); m != nil {
			words = m[2]
		}
		list = append(list, lines.ReplaceAllString(words, ""))
	}
	slices.Sort(list)
	return list, true
}

func kindOfTag(tag string) string {
	switch tag {
	case "!!str":
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a boolean"
	case "!!seq":
		return "an array"
	case "!!map":
		return "an object"
	case "!!null":
		return "nothing"
	}
	return "of another kind"
}
