package form

import (
	"strings"
	"testing"
)

type sample struct {
	Name  Word           `yaml:"name"`
	Who   Words          `yaml:"who"`
	Parts []part         `yaml:"parts"`
	Sizes map[string]int `yaml:"sizes"`
	Fast  bool           `yaml:"fast"`
}

type part struct {
	Path string `yaml:"path"`
}

func TestMistakesAreToldWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                            ": the file is empty",
		"name: a\nnmae: b\n":          `:2: unknown key "nmae"; did you mean name?`,
		"parts:\n- pth: a\n":          `:2: unknown key "pth"; did you mean path?`,
		"name: a\nname: b\n":          `:2: mapping key "name" already defined at line 1`,
		"name: a\n---\nname: b\n":     ": want one YAML document, there is more behind it",
		"name: [a]\n":                 ":1: want a word",
		"who: [a, [b]]\n":             ":1: want a word",
		"who:\n- a\n- b: c\n":         ":3: want a word",
		"name:\n":                     "",
		"sizes:\n  a: 1\n  b: many\n": ":3: found many, want a whole number",
		"fast: perhaps\n":             ":1: found perhaps, want true or false",
		"parts: yes\n":                ":1: found yes, want a list",
		"parts: [1]\n":                ":1: found 1, want keys with values",
		"name: \x01\n":                ": control characters are not allowed",
		"name: 'a\n":                  "found unexpected end of stream",
	} {
		err := Decode([]byte(text), new(sample), part{})
		if got := ""; err != nil {
			if got = err.Error(); want == "" || !strings.Contains(got, want) {
				t.Errorf("%q: got %q, want %q", text, got, want)
			}
		} else if want != "" {
			t.Errorf("%q: accepted, want %q", text, want)
		}
	}
}

func TestWordsKnowTheirLines(t *testing.T) {
	var s sample
	if err := Decode([]byte("name: 0x1F\nwho:\n- a\n- b\n"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Name != (Word{"0x1F", 1}) || len(s.Who) != 2 || s.Who[1] != (Word{"b", 4}) {
		t.Errorf("got %+v", s)
	}
}
