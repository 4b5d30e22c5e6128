package tree

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/image/recipe"
)

func read(t *testing.T, tr *Tree, path string) string {
	t.Helper()
	n := tr.Lookup(path)
	if n == nil {
		t.Fatalf("%s: not in the tree", path)
	}
	b, err := io.ReadAll(n.Content.Open())
	must(t, err)
	return string(b)
}

func loaded(t *testing.T, text string) *recipe.Recipe {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "recipe.yaml"), []byte("name: x\nsuite: bookworm\narchitecture: amd64\npackages: [pkg]\n"+text), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "beside.conf"), []byte("beside\n"), 0o600))
	r, err := recipe.Load(dir)
	must(t, err)
	return r
}

func TestRecipeHasTheLastWord(t *testing.T) {
	tr, s := New(), testSpool(t)
	must(t, tr.MergeUsr())
	must(t, addFile(t, tr, s, "p", "etc/x.conf", "the package's"))
	must(t, addFile(t, tr, s, "p", "usr/share/doc/p/copyright", "doc"))
	must(t, tr.Apply(loaded(t, `
users: [{name: redis, uid: 999, gid: 998, home: /data}]
groups: [{name: web, gid: 33}, {name: data, gid: 998}]
directories: [{path: /data, mode: 0750, owner: redis, group: web}]
files:
- {path: /etc/x.conf, content: "the recipe's", mode: 0600, owner: redis}
- {path: /lib/beside.conf, source: beside.conf}
links: [{path: /etc/resolv.conf, target: /run/resolv.conf}]
remove: [/usr/share/doc/**]
`), s))
	for path, want := range map[string]string{
		"etc/x.conf":          "the recipe's",
		"usr/lib/beside.conf": "beside\n",
		"etc/passwd": "root:x:0:0::/root:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n" +
			"redis:x:999:998::/data:/usr/sbin/nologin\n",
		"etc/group":  "root:x:0:\nnogroup:x:65534:\nweb:x:33:\ndata:x:998:\n",
		"etc/shadow": "root:!*:::::::\nnobody:!*:::::::\nredis:!*:::::::\n",
	} {
		if got := read(t, tr, path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	if n := tr.Lookup("data"); n.Mode != 0o750 || n.UID != 999 || n.GID != 33 {
		t.Errorf("/data: got %o %d:%d, want 750 999:33", n.Mode, n.UID, n.GID)
	}
	if n := tr.Lookup("etc/x.conf"); n.Mode != 0o600 || n.UID != 999 || n.GID != 0 {
		t.Errorf("/etc/x.conf: got %o %d:%d, want 600 999:0", n.Mode, n.UID, n.GID)
	}
	if tr.Lookup("usr/share/doc") != nil {
		t.Error("/usr/share/doc: still there")
	}
}

func TestUnknownOwnerIsNamed(t *testing.T) {
	r := &recipe.Recipe{Directories: []recipe.Directory{{Path: "/data", Owner: "nobody-knows"}}}
	err := New().Apply(r, testSpool(t))
	if err == nil || !strings.Contains(err.Error(), `/data: user "nobody-knows"`) {
		t.Fatalf("got %v, want the path and the user", err)
	}
}
