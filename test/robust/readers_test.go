package robust

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/deb/debtest"
)

// goodPlace has one good file of everything that verbs read.
func goodPlace(t *testing.T) *place {
	p := newPlace(t)
	a := debtest.New(t)
	p.recipe("small", a.AddBulk("bookworm", 1<<18, 50))
	p.write("small/recipe.yaml", p.read("small/recipe.yaml")+"files: [{path: /etc/motd, source: motd}]\n")
	p.write("small/motd", "hello\n")
	p.source = []string{"--mirror", a.URL, "--keyring", "keyring.gpg"}
	keyring, err := os.ReadFile(a.Keyring)
	if err != nil {
		t.Fatal(err)
	}
	p.write("keyring.gpg", string(keyring))
	p.keyPair("key")
	p.run("key", "init")
	p.run(append([]string{"image", "lock", "small"}, p.source...)...)
	p.run(append([]string{"image", "build", "small", "-o", "image"}, p.source...)...)
	p.run("image", "encrypt", "oci:image", "oci:sealed", "-r", "jwe:key.pub")
	p.dockerSave("image.tar")
	p.write("secret", "s3cret\n")
	p.run("broker", "set", "a/secret/b", "secret")
	p.run("broker", "allow", "sha256:"+strings.Repeat("ab", 32), "--resource", "a/secret/b")
	p.write("guest/image.json", `{"version": 1, "name": "guest", "architecture": "amd64"}`)
	p.write("guest/disk.img", "disk")
	p.write("guest/uki.efi", "uki")
	p.write("guest/reference.json", "{}")
	return p
}

// clone is a copy of the place for one test to spoil.
func (p *place) clone(t *testing.T) *place {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "place")
	if out, err := exec.Command("cp", "-a", p.dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &place{t: t, dir: dir, state: filepath.Join(dir, "state"), source: p.source}
}

func (p *place) copyFrom(other *place, names ...string) {
	p.t.Helper()
	for _, name := range names {
		if out, err := exec.Command("cp", "-a", other.path(name), p.path(name)).CombinedOutput(); err != nil {
			p.t.Fatalf("%v: %s", err, out)
		}
	}
}

func (p *place) read(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// blobs are the paths of manifest, config and layer of a layout.
func (p *place) blobs(layout string) (manifest, config, layer string) {
	var index, doc struct {
		Manifests, Layers []struct{ Digest string }
		Config            struct{ Digest string }
	}
	path := func(digest string) string {
		return layout + "/blobs/" + strings.Replace(digest, ":", "/", 1)
	}
	if err := json.Unmarshal([]byte(p.read(layout+"/index.json")), &index); err != nil {
		p.t.Fatal(err)
	}
	manifest = path(index.Manifests[0].Digest)
	if err := json.Unmarshal([]byte(p.read(manifest)), &doc); err != nil {
		p.t.Fatal(err)
	}
	return manifest, path(doc.Config.Digest), path(doc.Layers[0].Digest)
}

// dockerSave writes what "docker save" would of an image of one file.
func (p *place) dockerSave(name string) {
	layer := string(debtest.Tar(p.t, debtest.File{Name: "srv/", Content: ""}, debtest.File{Name: "srv/a", Content: strings.Repeat("a", 9000)}))
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/srv/a"]},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`,
		sha256.Sum256([]byte(layer)))
	p.write(name, string(debtest.Tar(p.t,
		debtest.File{Name: "layer.tar", Content: layer},
		debtest.File{Name: "config.json", Content: config},
		debtest.File{Name: "manifest.json", Content: `[{"Config":"config.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]`})))
}

func readers(p *place) map[string]reader {
	manifest, config, layer := p.blobs("image")
	_, _, sealed := p.blobs("sealed")
	lock := append([]string{"image", "lock", "small"}, p.source...)
	build := append([]string{"image", "build", "small", "-o", "made"}, p.source...)
	encrypt := []string{"image", "encrypt", "oci:image", "oci:made", "-r", "jwe:key.pub"}
	decrypt := []string{"image", "decrypt", "oci:sealed", "oci:made", "-k", "key"}
	serve := []string{"serve", "--registry-listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"}
	list := []string{"broker", "list"}
	run := []string{"run", "oci:image", "--guest", "guest"}
	all := map[string]reader{
		"recipe that is locked":       {file: "small/recipe.yaml", words: lock},
		"recipe that is built":        {file: "small/recipe.yaml", words: build, makes: "made"},
		"recipe's file":               {file: "small/motd", words: build, makes: "made", says: "small", fine: []string{"huge"}},
		"lock":                        {file: "small/recipe.lock", words: build, makes: "made", says: "small"},
		"keyring":                     {file: "keyring.gpg", words: lock},
		"layout's mark":               {file: "image/oci-layout", words: encrypt, makes: "made/index.json", says: "image", fine: []string{"huge"}},
		"index":                       {file: "image/index.json", words: encrypt, makes: "made/index.json", says: "image"},
		"manifest":                    {file: manifest, words: encrypt, makes: "made/index.json"},
		"config":                      {file: config, words: encrypt, makes: "made/index.json"},
		"layer":                       {file: layer, words: encrypt, makes: "made/index.json"},
		"sealed layer":                {file: sealed, words: decrypt, makes: "made/index.json"},
		"archive":                     {file: "image.tar", words: []string{"image", "pull", "docker-archive:image.tar", "oci:made"}, makes: "made", fine: []string{"huge"}},
		"recipient":                   {file: "key.pub", words: encrypt, makes: "made"},
		"private key":                 {file: "key", words: decrypt, makes: "made"},
		"authority":                   {file: "ca.pem", words: []string{"image", "pull", "127.0.0.1:1/a", "oci:made", "--ca", "ca.pem"}, makes: "made", prepare: authority},
		"broker's authority":          {file: "ca.pem", words: append(run, "--broker", "https://127.0.0.1:1", "--broker-ca", "ca.pem"), prepare: authority},
		"ring's key":                  {file: "state/keys/admin.key", words: list},
		"ring's certificate":          {file: "state/keys/tls.crt", words: list},
		"ring's root":                 {file: "state/keys/root.key", words: serve},
		"secret that is set":          {file: "secret", words: []string{"broker", "set", "x/secret/y", "secret"}, fine: []string{"truncated", "garbage", "wrong type", "wrong text", "deep"}},
		"secret of a run":             {file: "secret", words: append(run, "--secret", "s=@secret"), says: "s"},
		"reference that is trusted":   {file: "guest/reference.json", words: []string{"broker", "trust", "guest/reference.json"}},
		"reference of a run":          {file: "guest/reference.json", words: run, says: "guest"},
		"description":                 {file: "guest/image.json", words: run, says: "image"},
		"description that is trusted": {file: "guest/image.json", words: []string{"broker", "trust", "guest"}, says: "guest"},
		"broker's state":              {file: "state/broker/state.db", words: list, fine: []string{"absent", "empty", "huge"}},
		"audit key":                   {file: "state/broker/audit.key", words: list, fine: []string{"absent"}},
	}
	return all
}

func authority(_ *testing.T, p *place) { p.write("ca.pem", p.read("state/keys/tls.crt")) }
