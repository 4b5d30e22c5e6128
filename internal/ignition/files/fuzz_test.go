package files

import (
	"strings"
	"testing"
)

// Words of an [Install] section are words of the unit.
//
//fuzz:parser enabled.go:installSection
func FuzzInstallSection(f *testing.F) {
	f.Add("[Unit]\nAlso=no\n[Install]\nWantedBy=a.target b.target\n#Also=x\n Alias = c.service\n")
	f.Add("[Install]\n=\n==\n[\n")
	f.Fuzz(func(t *testing.T, text string) {
		for key, words := range installSection([]byte(text)) {
			for _, w := range words {
				if !strings.Contains(text, w) || !strings.Contains(text, key) {
					t.Errorf("%q: %q", key, w)
				}
			}
		}
	})
}
