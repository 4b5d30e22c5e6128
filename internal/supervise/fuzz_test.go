package supervise

import (
	"strings"
	"testing"
)

//fuzz:parser envfile.go
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
