package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	upstreams "github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"

	core "holdfast/internal/ignition"
	"holdfast/internal/ignition/butane"
	"holdfast/internal/ignition/spec"
)

// Butane marks the configs of its documentation, which its own tests translate
// too.
var (
	marked = regexp.MustCompile("(?s)<!-- butane-config -->\n```yaml\n(.*?)```")
	local  = regexp.MustCompile(`(?m)(?:local|contents_local): *(\S+)$`)
	listed = regexp.MustCompile(`(?m)ssh_authorized_keys_local:\n((?:\s+- \S+\n)+)`)
)

// An example of Butane's documentation.
type example struct{ name, text string }

func examples(t *testing.T) []example {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/coreos/butane").Output()
	check(t, err)
	pages, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "docs", "*.md"))
	check(t, err)
	var list []example
	for _, page := range pages {
		raw, err := os.ReadFile(page)
		check(t, err)
		for i, m := range marked.FindAllSubmatch(raw, -1) {
			list = append(list, example{fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(page), ".md"), i+1), string(m[1])})
		}
	}
	if len(list) < 70 {
		t.Fatalf("found %d examples, want at least 70: Butane's documentation is written otherwise now", len(list))
	}
	return list
}

// neighbours makes the files that an example names.
func neighbours(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	names := []string{"tree/etc/inside"}
	for _, m := range local.FindAllStringSubmatch(text, -1) {
		if m[1] != "tree" {
			names = append(names, m[1])
		}
	}
	for _, m := range listed.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(m[1]) {
			names = append(names, strings.TrimPrefix(strings.TrimSpace(line), "- "))
		}
	}
	for _, name := range names {
		content := "what " + name + " has\n"
		switch {
		case strings.HasSuffix(name, ".ign"):
			content = `{"ignition":{"version":"3.0.0"}}`
		case strings.HasSuffix(name, ".service"), strings.HasSuffix(name, ".conf"):
			content = "[Unit]\nDescription=one\n"
		}
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

func TestButanesExamplesAreWhatButaneMakesOfThem(t *testing.T) {
	for _, e := range examples(t) {
		dir := neighbours(t, e.text)
		want, r, err := upstreams.TranslateBytes([]byte(e.text), common.TranslateBytesOptions{
			TranslateOptions: common.TranslateOptions{FilesDir: dir}, Raw: true})
		if err != nil {
			t.Errorf("%s: Butane refuses: %v\n%s", e.name, err, r)
			continue
		}
		d, err := spec.Loader{Butane: butane.Config{Files: dir}.Translate}.Load(e.name, []byte(e.text))
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		got, err := spec.Convert(d, d.Version)
		if err != nil {
			t.Errorf("%s: %v", e.name, err)
			continue
		}
		if !alike(t, got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", e.name, got, want)
		}
	}
}

func alike(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	check(t, json.Unmarshal(a, &x))
	check(t, json.Unmarshal(b, &y))
	return reflect.DeepEqual(x, y)
}

// Those that need neither network nor volumes are applied by both engines.
func TestButanesExamplesLeaveTheSameTreeAsUpstream(t *testing.T) {
	upstream, ours := needs(t)
	applied := 0
	for _, e := range examples(t) {
		d, err := spec.Loader{Butane: butane.Config{Files: neighbours(t, e.text)}.Translate}.Load(e.name, []byte(e.text))
		check(t, err)
		if core.NeedsNet(d.Config) || len(d.Config.Storage.Luks) > 0 {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.ign")
			check(t, os.WriteFile(path, bytes.TrimSpace(d.JSON), 0o600))
			theirRoot, ourRoot := folder(t), folder(t)
			root(t, theirRoot)
			root(t, ourRoot)
			theirErr, ourErr := apply(t, upstream, path, theirRoot), apply(t, ours, path, ourRoot)
			if (theirErr == nil) != (ourErr == nil) {
				t.Fatalf("upstream: %v\nours: %v", theirErr, ourErr)
			}
			if ourErr == nil {
				applied++
				compare(t, tree(t, ourRoot), tree(t, theirRoot))
			}
		})
	}
	t.Logf("%d applied", applied)
	if applied < 30 {
		t.Errorf("%d were applied by both, want at least 30", applied)
	}
}
