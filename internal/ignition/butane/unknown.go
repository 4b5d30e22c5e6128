package butane

import (
	"errors"
	"strings"

	"github.com/coreos/butane/config/common"
	"github.com/coreos/vcontext/path"
	"github.com/coreos/vcontext/report"
	"github.com/coreos/vcontext/tree"
	"gopkg.in/yaml.v3"
)

func entry(n *yaml.Node, at []any, message string) report.Entry {
	return report.Entry{Kind: report.Error, Message: message, Context: path.New("yaml", at...),
		Marker: tree.Marker{StartP: &tree.Pos{Line: int64(n.Line), Column: int64(n.Column)}}}
}

// known are the variants that can be translated, with their versions.
var known = []struct{ variant, first, last, experimental string }{
	{"fcos", "1.0.0", "1.7.0", "1.8.0-experimental"}, {"flatcar", "1.0.0", "1.1.0", "1.2.0-experimental"},
	{"openshift", "4.8.0", "4.21.0", "4.22.0-experimental"}, {"r4e", "1.0.0", "1.1.0", "1.2.0-experimental"},
	{"fiot", "1.0.0", "1.0.0", "1.1.0-experimental"}, {Holdfast, HoldfastVersion, HoldfastVersion, ""},
}

// unknown tells of a variant or a version that is none of them, where it stands;
// empty for another error.
func unknown(text []byte, err error) (r report.Report) {
	var e common.ErrUnknownVersion
	var root yaml.Node
	if !errors.As(err, &e) && !errors.Is(err, common.ErrNoVariant) || yaml.Unmarshal(text, &root) != nil || len(root.Content) == 0 {
		return r
	}
	var variants []string
	for _, k := range known {
		variants = append(variants, k.variant)
		if k.variant == e.Variant {
			return tellAt(root.Content[0], "version", "no version of "+k.variant+" is called so, want one from "+k.first+" to "+strings.TrimSuffix(k.last+", or "+k.experimental, ", or "))
		}
	}
	return tellAt(root.Content[0], "variant", "no variant of Butane is called so, want one of "+strings.Join(variants, ", "))
}

func tellAt(whole *yaml.Node, key, message string) (r report.Report) {
	n, at := whole, []any(nil)
	for i := 0; i+1 < len(whole.Content); i += 2 {
		if whole.Content[i].Value == key {
			n, at = whole.Content[i+1], []any{key}
		}
	}
	r.Entries = append(r.Entries, entry(n, at, message))
	return r
}
