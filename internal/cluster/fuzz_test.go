package cluster

import (
	"bytes"
	"testing"

	"gopkg.in/yaml.v3"
)

// Whatever a person's kubeconfig is, it is refused or gets our entries once; and when
// they are taken out again, merging says the same as before.
//
//fuzz:parser kubeconfig.go:merge,unmerge,document,value,set,listOf,nameOf,put
func FuzzKubeconfig(f *testing.F) {
	for _, text := range []string{"", foreign, "clusters: null\nusers: [a, {name: 1}]\n", "a: &x {clusters: *x}\n", "clusters: [{name: holdfast-lab}, {name: holdfast-lab}]\n",
		"apiVersion: v1\n---\nkind: Config\n", "{clusters: {name: a}}", "- a\n", "? [a]\n: b\n", "<<: {clusters: []}\n"} {
		f.Add([]byte(text))
	}
	own, err := kubeconfig("holdfast-lab", "https://10.89.0.2:6443", []byte("ca"), login{"client-key-data": "a2V5"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, old []byte) {
		merged, err := merge(old, own)
		if err != nil {
			return
		}
		var doc struct {
			Current  string      `yaml:"current-context"`
			Contexts []yaml.Node `yaml:"contexts"`
		}
		if err := yaml.Unmarshal(merged, &doc); err != nil {
			t.Skip() // keys that were there twice still are
		}
		if doc.Current != "holdfast-lab" || len(doc.Contexts) == 0 {
			t.Fatalf("got\n%s", merged)
		}
		if again, err := merge(merged, own); err != nil || !bytes.Equal(again, merged) {
			t.Fatalf("merged twice: %v\n%s\nonce:\n%s", err, again, merged)
		}
		if without, err := unmerge(merged, "holdfast-lab"); err != nil || bytes.Contains(without, []byte("10.89.0.2:6443")) {
			t.Fatalf("taken out: %v\n%s", err, without)
		}
	})
}
