package robust

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

// seed is of this run of the tests: a failure names it, and HOLDFAST_SEED
// repeats it.
func seed(t *testing.T) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("HOLDFAST_SEED=%d repeats it", n)
		}
	})
	return rand.New(rand.NewPCG(n, 0))
}

// A victim is a verb that gets killed.
type victim struct {
	words  []string
	result string // the file or folder that it makes
	// again makes the verb have its whole work to do once more.
	again func(p *place)
	// once is what the verb says when it had done all before it was killed.
	once string
}

// victims are the verbs that write, on a small image with several layers'
// worth of bytes.
func victims(source []string, registry string) map[string]victim {
	push, pushes := []string{"image", "push", "oci:image", registry + "/pushed/0:1"}, 0
	elsewhere := func(*place) { // a folder that is served is not removed
		pushes++
		push[3] = fmt.Sprintf("%s/pushed/%d:1", registry, pushes)
	}
	remove := func(names ...string) func(*place) { return func(p *place) { p.remove(names...) } }
	return map[string]victim{
		"lock":    {append([]string{"image", "lock", "small"}, source...), "small/recipe.lock", remove("state/cache", "small/recipe.lock"), ""},
		"build":   {append([]string{"image", "build", "small", "-o", "new/built"}, source...), "new/built", remove("state/cache", "new/built"), ""},
		"encrypt": {[]string{"image", "encrypt", "oci:image", "oci:sealed", "-r", "jwe:key.pub"}, "sealed", remove("sealed"), ""},
		"decrypt": {[]string{"image", "decrypt", "oci:secret", "oci:plain", "-k", "key"}, "plain", remove("plain"), ""},
		"pull":    {[]string{"image", "pull", registry + "/small:1", "oci:pulled"}, "pulled", remove("pulled"), ""},
		"push":    {push, "state/registry/pushed", elsewhere, ""},
		"keys":    {[]string{"key", "init", "--state", "other"}, "other/keys", remove("other"), "exist already"},
		"set":     {[]string{"broker", "set", "x/secret/y", "value"}, "state/broker/state.db", func(p *place) { p.forget("x/secret/y") }, "has one already"},
	}
}

// forget takes a secret out of the broker, if it is there.
func (p *place) forget(secret string) {
	p.t.Helper()
	if strings.Contains(p.run("broker", "list"), secret) {
		p.run("broker", "delete", secret)
	}
}

func TestAKilledVerbLeavesNothingHalfAndWorksAgain(t *testing.T) {
	kills := 5
	if soak() {
		kills = 200
	}
	p, r := newPlace(t), seed(t)
	a := debtest.New(t)
	p.recipe("small", a.AddBulk("bookworm", 3*mib, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	p.keyPair("key")
	p.run(append([]string{"image", "lock", "small"}, source...)...)
	p.run(append([]string{"image", "build", "small", "-o", "image"}, source...)...)
	p.run("image", "encrypt", "oci:image", "oci:secret", "-r", "jwe:key.pub")
	_, registry := p.serve()
	p.run("image", "push", "oci:image", registry+"/small:1")
	p.write("value", "s3cret")
	for name, v := range victims(source, registry) {
		t.Run(name, func(t *testing.T) {
			p := &place{t: t, dir: p.dir, state: p.state}
			v.again(p)
			began := time.Now()
			p.run(v.words...)
			lasts := time.Since(began)
			clean := p.files()
			for i := range kills {
				if r.IntN(3) > 0 || i == 0 { // else on top of what the last kill left
					v.again(p)
				}
				after := time.Duration(r.Float64() * 1.05 * float64(lasts))
				p.kill(after, v.words...)
				p.whole(v.result, after)
				if r.IntN(2) == 0 {
					continue
				}
				p.again(v, clean, after)
			}
			p.again(v, clean, 0)
		})
	}
}

// again wants the verb to work after kills, and to leave the files that it
// leaves when nobody kills it.
func (p *place) again(v victim, clean []string, after time.Duration) {
	p.t.Helper()
	c := p.command(v.words...)
	out, err := c.CombinedOutput()
	if err != nil && (v.once == "" || !strings.Contains(string(out), v.once)) {
		p.t.Fatalf("killed after %v, and then: holdfast %s: %v\n%s", after, strings.Join(v.words, " "), err, out)
	}
	p.whole(v.result, after)
	if left := p.left(func(name string) bool { return !slices.Contains(clean, name) }); len(left) > 0 {
		p.t.Errorf("killed after %v, and done again: %q are left over", after, left)
	}
}

// left are the files that should not be there, and do not go within a while: a
// registry that serves replaces some of its own.
func (p *place) left(isLeft func(name string) bool) (names []string) {
	p.t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		names = slices.DeleteFunc(p.files(), func(name string) bool { return !isLeft(name) })
		if len(names) == 0 || time.Now().After(end) {
			return names
		}
	}
}

// kill starts words and kills them after a while.
func (p *place) kill(after time.Duration, words ...string) {
	p.t.Helper()
	c := p.command(words...)
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(after)
	_ = c.Process.Kill()
	_ = c.Wait()
}

// whole wants that what has its final name is whole: each blob is what its
// name says, each index leads to blobs, each lock and key can be read.
func (p *place) whole(result string, after time.Duration) {
	p.t.Helper()
	err := filepath.WalkDir(p.path(result), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".tmp-") {
			return err
		}
		return judge(p, path)
	})
	if err != nil && !os.IsNotExist(err) {
		p.t.Errorf("killed after %v: %v", after, err)
	}
}

func judge(p *place, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	switch {
	case filepath.Base(filepath.Dir(path)) == "sha256" && len(name) == 2*sha256.Size:
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != name {
			return fmt.Errorf("%s holds other bytes", path)
		}
	case name == "index.json" && bytes.Contains(raw, []byte("digest")):
		out, err := p.command("image", "inspect", "oci:"+filepath.Dir(path)).CombinedOutput()
		if err != nil && !bytes.Contains(out, []byte("holds several images")) && !bytes.Contains(out, []byte("the layout is empty")) {
			return fmt.Errorf("%s: %w: %s", path, err, out)
		}
	case name == "state.db":
		if out, err := p.command("broker", "list").CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", path, err, out)
		}
	case strings.HasSuffix(name, ".lock") && len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\n")):
		return fmt.Errorf("%s is cut off", path)
	case strings.HasSuffix(name, ".key") && !bytes.HasSuffix(raw, []byte("-----END PRIVATE KEY-----\n")):
		return fmt.Errorf("%s is cut off", path)
	}
	return nil
}

var pushed = regexp.MustCompile("/pushed/[0-9]+/")

// files lists all that is in the place, but for what is named by its hash, and
// for uploads, which a server keeps for a client that may come back.
func (p *place) files() (names []string) {
	p.t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it went while we looked
		}
		if err != nil || d.IsDir() || len(d.Name()) == 2*sha256.Size || filepath.Base(filepath.Dir(path)) == ".uploads" {
			return err
		}
		name, err := filepath.Rel(p.dir, path)
		names = append(names, pushed.ReplaceAllString(name, "/pushed/N/"))
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}
