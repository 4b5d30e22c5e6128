package confidential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"

	"holdfast/internal/api"
)

// Annotation is the pod's that carries its measured configuration, as text.
const Annotation = "holdfast/init-data"

// A Manifest is objects of Kubernetes, as their author wrote them.
type Manifest struct{ documents []*yaml.Node }

// Parse reads YAML of one or more objects.
func Parse(text []byte) (*Manifest, error) {
	var m Manifest
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			return &m, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if n.Kind == yaml.DocumentNode && n.Content[0].Kind == yaml.MappingNode {
			m.documents = append(m.documents, n.Content[0])
		}
	}
}

// templates says where the kinds that make pods have their pod.
var templates = map[string][]string{
	"Pod": {}, "Deployment": {"spec", "template"}, "StatefulSet": {"spec", "template"}, "DaemonSet": {"spec", "template"},
	"ReplicaSet": {"spec", "template"}, "Job": {"spec", "template"}, "CronJob": {"spec", "jobTemplate", "spec", "template"},
}

// ConfigMaps are those of the manifest.
func (m *Manifest) ConfigMaps() (ConfigMaps, error) { return objects[ConfigMap](m, "ConfigMap") }

// Secrets are those of the manifest.
func (m *Manifest) Secrets() (ConfigMaps, error) {
	all, err := objects[secret](m, "Secret")
	plain := ConfigMaps{}
	for name, s := range all {
		plain[name] = ConfigMap{Data: s.Text, Binary: s.Data}
	}
	return plain, err
}

// A secret is one of Kubernetes'.
type secret struct {
	Text map[string]string `json:"stringData"` // wins over the other
	Data map[string][]byte `json:"data"`
}

func objects[T any](m *Manifest, kind string) (map[string]T, error) {
	all := map[string]T{}
	for _, d := range m.documents {
		if text(d, "kind") != kind {
			continue
		}
		raw, err := asJSON(d)
		if err != nil {
			return nil, err
		}
		var one T
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind, text(at(d, "metadata"), "name"), err)
		}
		all[text(at(d, "metadata"), "name")] = one
	}
	return all, nil
}

// A Sealed is a pod of the manifest that has its configuration.
type Sealed struct {
	Object   string // Kind/NAME
	Document []byte
}

// Seal gives each pod of the manifest the document that write makes of it, and
// settings of Kubernetes' that the document rests on. The manifest is changed.
func (m *Manifest) Seal(s Settings, write func(*api.Pod) ([]byte, error)) (sealed []Sealed, err error) {
	known := map[string]bool{}
	for _, d := range m.documents {
		kind := text(d, "kind")
		path, ok := templates[kind]
		if !ok {
			continue
		}
		object := kind + "/" + text(at(d, "metadata"), "name")
		pod := at(d, path...)
		document, err := seal(pod, s, func(p *api.Pod) ([]byte, error) {
			for _, c := range p.Containers {
				known[c.Name] = true
			}
			return write(p)
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", object, err)
		}
		sealed = append(sealed, Sealed{object, document})
	}
	if len(sealed) == 0 {
		return nil, errors.New("manifest: there is no pod in it")
	}
	for _, name := range s.containers() {
		if !known[name] {
			return nil, fmt.Errorf("manifest: there is no container %.80q in it", name)
		}
	}
	return sealed, nil
}

// containers are those that the settings name.
func (s Settings) containers() []string {
	return slices.Concat(slices.Sorted(maps.Keys(s.Secrets)), s.NoLogs, slices.Sorted(maps.Keys(s.Commands)))
}

func seal(pod *yaml.Node, s Settings, write func(*api.Pod) ([]byte, error)) ([]byte, error) {
	spec := at(pod, "spec")
	if spec == nil {
		return nil, errors.New("there is no spec of a pod")
	}
	raw, err := asJSON(spec)
	if err != nil {
		return nil, err
	}
	p, err := Pod(raw, s)
	if err != nil {
		return nil, err
	}
	document, err := write(p)
	if err != nil {
		return nil, err
	}
	set(spec, "runtimeClassName", scalar("!!str", RuntimeClass))
	set(spec, "automountServiceAccountToken", scalar("!!bool", "false"))
	set(spec, "enableServiceLinks", scalar("!!bool", "false"))
	set(child(child(pod, "metadata"), "annotations"), Annotation, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: string(document), Style: yaml.LiteralStyle})
	return document, pin(spec, p)
}

// pin writes images by their digests, so that the node names what was measured.
func pin(spec *yaml.Node, p *api.Pod) error {
	for _, list := range []*yaml.Node{at(spec, "initContainers"), at(spec, "containers")} {
		if list == nil {
			continue
		}
		for _, c := range list.Content {
			measured, _, ok := p.Container(text(c, "name"))
			if !ok {
				return fmt.Errorf("container %s: is lost", text(c, "name"))
			}
			set(c, "image", scalar("!!str", measured.Image))
		}
	}
	return nil
}

// Text is the manifest as YAML.
func (m *Manifest) Text() ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	for _, d := range m.documents {
		if err := e.Encode(d); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), e.Close()
}

func asJSON(n *yaml.Node) ([]byte, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	return raw, nil
}

// at finds what a path of keys leads to; nil when it leads nowhere.
func at(n *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		var next *yaml.Node
		for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	return n
}

func text(n *yaml.Node, key string) string {
	if v := at(n, key); v != nil {
		return v.Value
	}
	return ""
}

// child finds or makes a mapping.
func child(n *yaml.Node, key string) *yaml.Node {
	if c := at(n, key); c != nil && c.Kind == yaml.MappingNode {
		return c
	}
	c := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	set(n, key, c)
	return c
}

func set(n *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content[i+1] = value
			return
		}
	}
	n.Content = append(n.Content, scalar("!!str", key), value)
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}
