package form

import "gopkg.in/yaml.v3"

// A Word is a text that knows its line.
type Word struct {
	Text string
	Line int
}

// UnmarshalYAML takes any scalar as it is written.
func (w *Word) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return At(n.Line, "want a word")
	}
	*w = Word{n.Value, n.Line}
	return nil
}

// Words are a list of them; one alone may stand without its brackets.
type Words []Word

// UnmarshalYAML takes a scalar or a list of scalars.
func (w *Words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		var one Word
		err := one.UnmarshalYAML(n)
		*w = Words{one}
		return err
	}
	*w = make(Words, len(n.Content))
	for i, item := range n.Content {
		if err := (*w)[i].UnmarshalYAML(item); err != nil {
			return err
		}
	}
	return nil
}
