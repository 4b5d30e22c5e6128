package guide

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page that names a test as proof is wrong when there is no such test.
func TestEveryTestThatThePagesNameExists(t *testing.T) {
	sources := testSources(t)
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+|Benchmark[A-Za-z0-9]+|Fuzz[A-Za-z0-9]+)`")
	found := 0
	for _, file := range pages(t) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(raw), -1) {
			found++
			if !strings.Contains(sources, "func "+m[1]+"(") {
				t.Errorf("%s names %s, which does not exist", file, m[1])
			}
		}
	}
	if found < 5 {
		t.Fatalf("found %d names: the pages were not read", found)
	}
}

// Each format of docs/checks.md stands with a program and a test.
func TestEveryCheckNamesItsTest(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "checks.md"))
	if err != nil {
		t.Fatal(err)
	}
	sources, rows := testSources(t), 0
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| format") {
			continue
		}
		rows++
		for name := range strings.SplitSeq(cells[4], ",") {
			name = strings.Trim(name, " `")
			if !strings.HasPrefix(name, "Test") || !strings.Contains(sources, "func "+name+"(t ") {
				t.Errorf("no test %q for %s by%s", name, cells[1], cells[2])
			}
		}
	}
	if rows < 20 {
		t.Fatalf("found %d rows: the table was not read", rows)
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	list := []string{filepath.Join(root, "README.md")}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func testSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"internal", "test", "kube/shim"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, "_test.go") {
				var raw []byte
				raw, err = os.ReadFile(path)
				all.Write(raw)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
