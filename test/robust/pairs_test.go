package robust

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"holdfast/internal/deb/debtest"
)

// A pair is two verbs at once on one state folder.
type pair struct {
	a, b   []string
	result string // what both make, or the first does
	// one says that only one can have it, and what the other is told.
	one string
	// before is removed before the two start, and so is the broker's secret.
	before []string
	secret string
}

func TestTwoAtOnceBothDoTheirWorkOrOneIsToldWhy(t *testing.T) {
	rounds := 1
	if soak() {
		rounds = 40
	}
	p := newPlace(t)
	a := debtest.New(t)
	p.recipe("small", a.AddBulk("bookworm", 3*mib, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	with := func(words ...string) []string { return append(words, source...) }
	p.keyPair("key")
	p.run(with("image", "lock", "small")...)
	p.run(with("image", "build", "small", "-o", "image")...)
	p.run("image", "encrypt", "oci:image", "oci:secret", "-r", "jwe:key.pub")
	p.write("value", "s3cret")
	_, registry := p.serve()
	p.run("image", "push", "oci:image", registry+"/small:1")
	pulls := []string{"image", "pull", registry + "/small:1", "oci:pulled"}
	for name, pair := range map[string]pair{
		"lock and lock":       {a: with("image", "lock", "small"), b: with("image", "lock", "small"), result: "small/recipe.lock"},
		"lock and build":      {a: with("image", "build", "small", "-o", "made"), b: with("image", "lock", "small"), result: "made", before: []string{"state/cache", "made"}},
		"build and build":     {a: with("image", "build", "small", "-o", "made"), b: with("image", "build", "small", "-o", "made"), result: "made", before: []string{"state/cache", "made"}},
		"encrypt and encrypt": {a: []string{"image", "encrypt", "oci:image", "oci:sealed:a", "-r", "jwe:key.pub"}, b: []string{"image", "encrypt", "oci:image", "oci:sealed:b", "-r", "jwe:key.pub"}, result: "sealed", before: []string{"sealed"}},
		"pull and pull":       {a: pulls, b: pulls, result: "pulled", before: []string{"pulled"}},
		"pull and decrypt":    {a: pulls, b: []string{"image", "decrypt", "oci:secret", "oci:pulled:other", "-k", "key"}, result: "pulled", before: []string{"pulled"}},
		"push and push":       {a: []string{"image", "push", "oci:image", registry + "/two:1"}, b: []string{"image", "push", "oci:image", registry + "/two:1"}, result: "state/registry/two", before: []string{"state/registry/two"}},
		"push and pull":       {a: []string{"image", "push", "oci:secret", registry + "/small:2"}, b: pulls, result: "pulled", before: []string{"pulled"}},
		"key and key":         {a: []string{"key", "init", "--state", "other"}, b: []string{"key", "init", "--state", "other"}, result: "other/keys", one: "keys exist already", before: []string{"other"}},
		"first use by two":    {a: []string{"broker", "list", "--state", "other"}, b: []string{"broker", "list", "--state", "other"}, result: "other/keys", before: []string{"other"}},
		"set and set":         {a: []string{"broker", "set", "x/secret/y", "value"}, b: []string{"broker", "set", "x/secret/y", "value"}, result: "state/broker/state.db", one: "has one already", secret: "x/secret/y"},
		"set and list":        {a: []string{"broker", "set", "v/secret/y", "value"}, b: []string{"broker", "list"}, result: "state/broker/state.db", secret: "v/secret/y"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &place{t: t, dir: p.dir, state: p.state}
			for range rounds {
				p.remove(pair.before...)
				if pair.secret != "" {
					p.forget(pair.secret)
				}
				p.both(pair)
				p.whole(pair.result, 0)
			}
			if left := p.left(func(name string) bool {
				return strings.Contains(name, ".tmp-") || strings.Contains(name, ".holdfast-image-")
			}); len(left) > 0 {
				t.Errorf("%q are left over", left)
			}
		})
	}
}

// both runs a pair at once.
func (p *place) both(x pair) {
	p.t.Helper()
	var said [2]bytes.Buffer
	var failed []string
	commands := []interface{ Wait() error }{}
	for i, words := range [][]string{x.a, x.b} {
		c := p.command(words...)
		c.Stdout, c.Stderr = &said[i], &said[i]
		if err := c.Start(); err != nil {
			p.t.Fatal(err)
		}
		commands = append(commands, c)
	}
	for i, c := range commands {
		if err := c.Wait(); err != nil {
			failed = append(failed, said[i].String())
		}
	}
	told := slices.IndexFunc(failed, func(text string) bool { return x.one != "" && strings.Contains(text, x.one) })
	if len(failed) > 1 || len(failed) == 1 && told < 0 {
		p.t.Fatalf("got %q, want at most one to fail, for %q", failed, x.one)
	}
	if x.one != "" && len(failed) == 0 {
		p.t.Fatalf("both succeeded, want one to be told %q", x.one)
	}
}
