package tree

import (
	"fmt"
	"path"
	"strings"
)

// Remove deletes every path that a pattern matches and, when it is a
// directory, all it holds. A pattern is an absolute path whose components may
// hold *, ? and [a-z]; a component ** stands for any number of components,
// none included. So /usr/share/doc/** takes the folder and all under it. Paths
// are real ones: /usr/lib/x, never /lib/x.
func (t *Tree) Remove(patterns ...string) error {
	for _, p := range patterns {
		want := strings.Split(strings.TrimPrefix(p, "/"), "/")
		for _, part := range want {
			if _, err := path.Match(part, ""); err != nil {
				return fmt.Errorf("pattern %q: %w", p, err)
			}
		}
		for _, name := range t.Paths() {
			if t.nodes[name] != nil && matches(want, strings.Split(name, "/")) {
				t.removeAll(name)
			}
		}
	}
	return nil
}

func (t *Tree) removeAll(p string) {
	t.drop(p)
	for name := range t.nodes {
		if strings.HasPrefix(name, p+"/") {
			t.drop(name)
		}
	}
}

// matches compares components; want's patterns are known to be well formed.
func matches(want, have []string) bool {
	for len(want) > 0 && want[0] != "**" {
		if len(have) == 0 {
			return false
		}
		if ok, _ := path.Match(want[0], have[0]); !ok {
			return false
		}
		want, have = want[1:], have[1:]
	}
	if len(want) == 0 {
		return len(have) == 0
	}
	for skip := 0; skip <= len(have); skip++ {
		if matches(want[1:], have[skip:]) {
			return true
		}
	}
	return false
}
