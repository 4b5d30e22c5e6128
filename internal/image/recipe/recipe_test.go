package recipe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const good = `name: redis
suite: bookworm
architecture: amd64
packages: [redis-server]
exclude: [adduser, perl-base]
users: [{name: redis, uid: 999, gid: 999, home: /var/lib/redis}]
groups: [{name: redis, gid: 999}]
directories: [{path: /data, mode: 0750, owner: redis, group: redis}]
files:
  - {path: /etc/redis.conf, content: ""}
  - {path: /etc/motd, source: motd, mode: "600"}
links: [{path: /x, target: y}]
remove: [/usr/share/doc/**]
programs: [{module: ".", package: ./cmd/holdfast-node, path: /usr/bin/holdfast-node}]
oci: {entrypoint: [redis-server], env: [A=b], user: redis, workdir: /, ports: [6379/tcp], labels: {a: b}}
machine:
  kernel: linux-image-cloud-amd64
  stub: systemd-boot-efi
  modules: [virtio_blk]
  init: {module: ".", package: ./cmd/holdfast-node}
  cmdline: console=ttyS0 quiet
`

func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"recipe.yaml": text, "motd": "hello\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, text string) *Recipe {
	t.Helper()
	r, err := Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDefaultsAreFilledInAndModesAreOctal(t *testing.T) {
	r := load(t, good)
	if d := r.Directories[0]; d.Mode != 0o750 || d.Owner != "redis" {
		t.Errorf("directory: got %+v", d)
	}
	if f := r.Files[0]; f.Mode != 0o644 || f.Owner != "root" || f.Content == nil {
		t.Errorf("file: got %+v", f)
	}
	if r.Files[1].Mode != 0o600 || r.Users[0].Shell != "/usr/sbin/nologin" {
		t.Errorf("got mode %o and shell %q", r.Files[1].Mode, r.Users[0].Shell)
	}
}

func TestMistakesAreNamedWithTheirLine(t *testing.T) {
	change := strings.NewReplacer
	for _, c := range []struct{ from, to, want string }{
		{"packages:", "pakages:", `recipe.yaml:4: unknown key "pakages"; did you mean packages?`},
		{"home:", "hone:", `recipe.yaml:6: unknown key "hone"; did you mean home?`},
		{"  stub:", "  stup:", `recipe.yaml:18: unknown key "stup"; did you mean stub?`},
		{"[redis-server]\nexclude", "redis-server\nexclude", "recipe.yaml:4: found redis-s..., want a list"},
		{"mode: 0750", "mode: rwx", `recipe.yaml:8: mode "rwx": want octal digits such as 0755`},
		{"mode: 0750", "mode: 0980", `recipe.yaml:8: mode "0980": want octal digits such as 0755`},
		{"uid: 999", "uid: many", "recipe.yaml:6: found many, want a whole number"},
		{"name: redis\nsuite", "nae: redis\nsuite", `recipe.yaml:1: unknown key "nae"; did you mean name?`},
		{"suite: bookworm", "suite: bookworm\nsuite: sid", `recipe.yaml:3: mapping key "suite" already defined at line 2`},
		{"name: redis\nsuite", "name: [", "recipe.yaml:"},
		{good, "", "recipe.yaml: the file is empty"},
		{"name: redis\n", "", "recipe.yaml: name is missing; want for example redis"},
		{"cmdline: console=ttyS0 quiet\n", "cmdline: x\n---\n", "recipe.yaml: want one YAML document"},
	} {
		_, err := Load(write(t, change(c.from, c.to).Replace(good)))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: got %v\nwant %s", c.to, err, c.want)
		}
	}
}

func TestValuesThatCannotBeBuiltAreRefused(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"owner: redis", "owner: rdis", `/data: owner "rdis" is not among users`},
		{"group: redis}", "group: nobody}", `/data: group "nobody" is not among groups`},
		{"gid: 999, home", "gid: 7, home", "users: redis: gid 7 is not among groups"},
		{"user: redis", "user: postgres", `oci: user "postgres" is not among users`},
		{"name: redis, uid: 999", "name: root, uid: 999", "users: root: its name or id 999 is there already"},
		{"path: /data", "path: data", `directories: path "data": want an absolute path`},
		{"path: /data", "path: /../data", `directories: path "/../data"`},
		{"path: /data", "path: /", "the root itself"},
		{"path: /x", "path: /data", "links: path: /data: another entry makes it too"},
		{`content: ""`, "mode: 0644", "files: /etc/redis.conf: want either content or source"},
		{"source: motd", "source: ../motd", `source "../motd": want a file beside the recipe`},
		{"6379/tcp", "6379", `oci: ports "6379": want for example 6379/tcp`},
		{"[redis-server]\n", "[Redis]\n", `packages "Redis": want for example redis-server`},
		{`module: ".", package: ./cmd/holdfast-node, path`, "module: example.org/x, package: ., path", `programs: /usr/bin/holdfast-node: module "example.org/x"`},
		{`module: ".", package: ./cmd/holdfast-node, path`, "module: ./a/../../b, package: ., path", `programs: /usr/bin/holdfast-node: module "./a/../../b"`},
		{"quiet", "holdfast.roothash=00", "which the build adds"},
		{"amd64\n", "amd64\nmirror: debian\n", `mirror "debian": want for example https://HOST/debian`},
	} {
		_, err := Load(write(t, strings.Replace(good, c.from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v\nwant %s", c.to, err, c.want)
		}
	}
}

func TestDigestIsWhatSha256sumSays(t *testing.T) {
	r := load(t, good)
	cmd := exec.Command("sh", "-c", "sha256sum recipe.yaml motd | sha256sum")
	cmd.Dir = r.Dir()
	out, err := cmd.Output()
	if err != nil {
		t.Skip("needs sha256sum:", err)
	}
	got, err := r.Digest()
	if want := strings.Fields(string(out))[0]; err != nil || got.Hex() != want {
		t.Fatalf("got %s and %v, want %s", got, err, want)
	}
}

func TestAbsentSourceFileIsNamed(t *testing.T) {
	r := load(t, strings.Replace(good, "source: motd", "source: gone", 1))
	if _, err := r.Digest(); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Fatalf("got %v, want the file named", err)
	}
}
