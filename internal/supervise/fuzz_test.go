package supervise

import (
	"strings"
	"testing"

	"holdfast/internal/supervise/quoted"
)

func FuzzParseEnvFile(f *testing.F) {
	for _, text := range []string{"A=b\n", "A='b\nc' d\n# no\\\nB=1\n", "A=\"\\$\\\"\\x\"\n", "A=b\\\n c  \n;\n", "=x", "A='"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env, err := parseEnvFile(text)
		if err != nil {
			return
		}
		for _, e := range env {
			if name, _, ok := strings.Cut(e, "="); !ok || !isName(name) {
				t.Errorf("got %q", e)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	for _, text := range []string{"a b", `'a b' "c\x20d" e\ f`, `a\u00e9`, `"`, `\`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := quoted.Words(text)
		if err == nil && len(words) > len(text) {
			t.Errorf("got %d words of %d bytes", len(words), len(text))
		}
	})
}
