package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v30 "github.com/coreos/ignition/v2/config/v3_0"
	v31 "github.com/coreos/ignition/v2/config/v3_1"
	v32 "github.com/coreos/ignition/v2/config/v3_2"
	v33 "github.com/coreos/ignition/v2/config/v3_3"
	v34 "github.com/coreos/ignition/v2/config/v3_4"
	v35 "github.com/coreos/ignition/v2/config/v3_5"
	v36 "github.com/coreos/ignition/v2/config/v3_6"
	latest "github.com/coreos/ignition/v2/config/v3_7_experimental"
	"github.com/coreos/vcontext/report"
)

// Stable is the newest version that is not an experiment.
const Stable = "3.6.0"

// parsers read a config of one version or an older one, as that version.
var parsers = map[string]func([]byte) (any, error){
	"3.0.0": as(v30.ParseCompatibleVersion), "3.1.0": as(v31.ParseCompatibleVersion), "3.2.0": as(v32.ParseCompatibleVersion),
	"3.3.0": as(v33.ParseCompatibleVersion), "3.4.0": as(v34.ParseCompatibleVersion), "3.5.0": as(v35.ParseCompatibleVersion),
	"3.6.0": as(v36.ParseCompatibleVersion), Newest: as(latest.ParseCompatibleVersion),
}

func as[T any](parse func([]byte) (T, report.Report, error)) func([]byte) (any, error) {
	return func(raw []byte) (any, error) {
		c, _, err := parse(raw)
		return c, err
	}
}

// Convert writes a document as a version that is not older than its own.
func Convert(d *Document, version string) ([]byte, error) {
	parse, ok := parsers[version]
	if !ok {
		return nil, fmt.Errorf("version %.40q is not known, want %s", version, strings.Join(Versions, ", "))
	}
	if slices.Index(Versions, version) < slices.Index(Versions, d.Version) {
		return nil, fmt.Errorf("a config of version %s cannot be made one of %s: configs are translated to newer versions only", d.Version, version)
	}
	c, err := parse(d.JSON)
	if err != nil {
		return nil, err // the document is valid: not to be seen
	}
	raw, err := marshal(c)
	return bytes.ReplaceAll(raw, []byte(`"`+mask), []byte(`"`)), err
}

// Merge is what configs are together: each over those before it.
func Merge(configs ...Config) Config {
	var whole Config
	for i, c := range configs {
		if i == 0 {
			whole = c
		} else {
			whole = latest.Merge(whole, c)
		}
	}
	return whole
}

// Marshal writes a config as the stable version when that can say it, and as
// the newest otherwise.
func Marshal(c Config) ([]byte, error) {
	c.Ignition.Version = Stable
	raw, err := marshal(c)
	if err != nil {
		return nil, err
	}
	if d, err := load("", raw, true); err == nil && len(d.Findings) == 0 {
		return raw, nil
	}
	c.Ignition.Version = Newest
	return marshal(c)
}

// marshal leaves out the empty objects that upstream's types have.
func marshal(c any) ([]byte, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(prune(tree))
	return b.Bytes(), err
}

func prune(node any) any {
	switch n := node.(type) {
	case map[string]any:
		for key, child := range n {
			child = prune(child)
			if m, ok := child.(map[string]any); ok && len(m) == 0 || child == nil {
				delete(n, key)
			}
		}
	case []any:
		for _, child := range n {
			prune(child)
		}
	}
	return node
}
