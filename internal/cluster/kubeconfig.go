package cluster

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gopkg.in/yaml.v3"

	"holdfast/internal/atomicfile"
	"holdfast/internal/cluster/pki"
	"holdfast/internal/input"
)

// contextName is what a cluster is called in a kubeconfig.
func contextName(cluster string) string { return "holdfast-" + cluster }

// A login is what a kubeconfig has of a user.
type login map[string]string

// inline is a login with all that it takes.
func inline(p pki.Pair) login {
	return login{"client-certificate-data": base64.StdEncoding.EncodeToString(p.Cert), "client-key-data": base64.StdEncoding.EncodeToString(p.Key)}
}

// kubeconfig is a whole one with one context.
func kubeconfig(name, server string, authority []byte, who login) ([]byte, error) {
	doc := map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": name, "preferences": map[string]any{},
		"clusters": []any{map[string]any{"name": name, "cluster": map[string]any{
			"server": server, "certificate-authority-data": base64.StdEncoding.EncodeToString(authority)}}},
		"users":    []any{map[string]any{"name": name, "user": who}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": name}}},
	}
	return marshal(doc)
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(v)
	return b.Bytes(), errors.Join(err, e.Close())
}

// named are the three lists of a kubeconfig whose entries have names.
var named = []string{"clusters", "users", "contexts"}

// merge puts the entries of add into the kubeconfig old, which keeps all else,
// comments too, and makes add's context the current one.
func merge(old, add []byte) ([]byte, error) {
	into, err := document(old)
	if err != nil {
		return nil, err
	}
	from, err := document(add)
	if err != nil {
		return nil, err
	}
	for _, list := range named {
		for _, e := range listOf(from, list).Content {
			put(listOf(into, list), e)
		}
	}
	for _, key := range []string{"apiVersion", "kind"} {
		if value(into, key) == nil {
			set(into, key, value(from, key))
		}
	}
	set(into, "current-context", value(from, "current-context"))
	return marshal(into)
}

// unmerge takes the entries called name out. Current stays when it is another.
func unmerge(old []byte, name string) ([]byte, error) {
	doc, err := document(old)
	if err != nil {
		return nil, err
	}
	for _, list := range named {
		l := listOf(doc, list)
		kept := l.Content[:0]
		for _, e := range l.Content {
			if nameOf(e) != name {
				kept = append(kept, e)
			}
		}
		l.Content = kept
	}
	if v := value(doc, "current-context"); v != nil && v.Value == name {
		v.SetString("")
	}
	return marshal(doc)
}

// document is the mapping that raw holds; nothing is an empty one.
func document(raw []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	if doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("want a kubeconfig: a mapping with clusters, users and contexts")
	}
	return doc.Content[0], nil
}

func value(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

func set(m *yaml.Node, key string, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = v
			return
		}
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, v)
}

// listOf is the list called key, made when there is none or it is null.
func listOf(m *yaml.Node, key string) *yaml.Node {
	if v := value(m, key); v != nil && v.Kind == yaml.SequenceNode {
		v.Style = 0
		return v
	}
	v := &yaml.Node{Kind: yaml.SequenceNode}
	set(m, key, v)
	return v
}

func nameOf(entry *yaml.Node) string {
	if entry.Kind != yaml.MappingNode {
		return ""
	}
	if v := value(entry, "name"); v != nil {
		return v.Value
	}
	return ""
}

func put(list, entry *yaml.Node) {
	for i, e := range list.Content {
		if nameOf(e) == nameOf(entry) {
			list.Content[i] = entry
			return
		}
	}
	list.Content = append(list.Content, entry)
}

// edit changes the kubeconfig at path as one step, while others that lock it as
// kubectl does (a file beside it) keep away.
func edit(path string, change func([]byte) ([]byte, error)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := lockAsKubectl(path + ".lock")
	if err != nil {
		return fmt.Errorf("kubeconfig %s: another program changes it, or was killed while it did: %w", path, err)
	}
	defer unlock()
	old, err := input.ReadFile(path, input.Document)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	now, err := change(old)
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if bytes.Equal(old, now) {
		return nil
	}
	target, err := filepath.EvalSymlinks(path) // a link stays one
	if err != nil {
		target = path
	}
	return atomicfile.WriteFile(target, now, 0o600)
}

// lockAsKubectl makes the file that keeps kubectl away, which has it for moments
// only (client-go's clientcmd, lockFile).
func lockAsKubectl(path string) (unlock func(), err error) {
	for range 40 {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			return func() { _ = os.Remove(path) }, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, err
}
