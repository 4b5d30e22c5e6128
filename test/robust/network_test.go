package robust

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

// A caller is a verb that needs a server.
type caller struct {
	victim
	to   string // the server
	says string // a word for what was being done
	// check looks at what came of it.
	check func(p *place)
	// keeps says that what came once does not come again.
	keeps bool
}

// callers gives the verbs, for the n-th time over a line.
func callers(mirror, keyring, registry string) map[string]func(line string, n int) caller {
	remove := func(names ...string) func(*place) { return func(p *place) { p.remove(names...) } }
	host, path, _ := strings.Cut(strings.TrimPrefix(mirror, "http://"), "/")
	source := func(line string, words ...string) []string {
		return append(words, "--mirror", "http://"+line+"/"+path, "--keyring", keyring)
	}
	whole := func(result string) func(*place) { return func(p *place) { p.whole(result, 0) } }
	return map[string]func(string, int) caller{
		"lock": func(line string, _ int) caller {
			v := victim{source(line, "image", "lock", "small"), "", remove("state/cache", "small/recipe.lock"), ""}
			return caller{v, host, "bookworm", whole("small/recipe.lock"), false}
		},
		"build": func(line string, _ int) caller {
			v := victim{source(line, "image", "build", "small", "-o", "built"), "", remove("state/cache", "built"), ""}
			return caller{v, host, "bulk", whole("built"), true}
		},
		"pull": func(line string, _ int) caller {
			v := victim{[]string{"image", "pull", line + "/small:1", "oci:pulled"}, "", remove("pulled"), ""}
			return caller{v, registry, "small:1", whole("pulled"), true}
		},
		"push": func(line string, n int) caller {
			name := fmt.Sprintf("/pushed%d:1", n)
			v := victim{[]string{"image", "push", "oci:image", line + name}, "", remove("back"), ""}
			return caller{v, registry, name, func(p *place) {
				p.run("image", "pull", registry+name, "oci:back")
				p.whole("back", 0)
			}, false}
		},
	}
}

const (
	patience = time.Second // with a server that says nothing
	ends     = time.Minute // when a verb of that patience must have ended
	small    = mib + mib/2 // what may come again: blobs that are not kept in part
)

func TestANetworkThatGoesIsNamedAndLaterMadeGood(t *testing.T) {
	tries := 2
	if soak() {
		tries = 40
	}
	random, a, far := seed(t), debtest.New(t), newPlace(t)
	far.recipe("small", a.AddBulk("bookworm", 8*mib, 50))
	source := []string{"--mirror", a.URL, "--keyring", a.Keyring}
	far.run(append([]string{"image", "lock", "small"}, source...)...)
	far.run(append([]string{"image", "build", "small", "-o", "image"}, source...)...)
	_, registry := far.serve()
	far.run("image", "push", "oci:image", registry+"/small:1")
	near := &place{t: t, dir: t.TempDir()}
	near.copyFrom(far, "small", "image")
	all := callers(a.URL, a.Keyring, registry)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		call := all[name]
		r := rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := near.clone(t)
			l := newLine(t, call("", 0).to)
			c := call(l.address, 0)
			c.again(p)
			p.run(c.words...)
			total := l.count()
			for i, f := range someFaults(r, tries) {
				p.suffer(l, call(l.address, 2*i+1), f, r.Int64N(total), total)
				p.endure(l, call(l.address, 2*i+2), f, r.Int64N(total))
			}
		})
	}
}

func someFaults(r *rand.Rand, n int) (some []fault) {
	for len(some) < n {
		for _, i := range r.Perm(len(faults)) {
			some = append(some, faults[i])
		}
	}
	return some[:n]
}

// suffer has the network go for good while a verb is at work: it says so soon,
// and goes on when the network is back.
func (p *place) suffer(l *line, c caller, f fault, at, total int64) {
	p.t.Helper()
	c.again(p)
	l.breakAt(f, at, false)
	where := fmt.Sprintf("%s at byte %d", f, at)
	var out bytes.Buffer
	p.patience = patience
	cmd := p.command(c.words...)
	p.patience = 0
	cmd.Stderr = &out
	began := time.Now()
	failed := cmd.Run() != nil
	if took := time.Since(began); took > ends {
		p.t.Errorf("%s: ended after %v", where, took)
	}
	if text := strings.TrimSpace(out.String()); failed {
		if err := (reader{says: l.address}).told(text); err != nil {
			p.t.Errorf("%s: %v", where, err)
		}
		if !strings.Contains(text, c.says) {
			p.t.Errorf("%s: %q does not say %s", where, text, c.says)
		}
	}
	broke := l.mend()
	p.run(c.words...)
	c.check(p)
	kept := broke && (f == hole || f == half) // a reset takes what is in the kernel
	if again := l.count() - (total - at); failed && kept && c.keeps && again > small {
		p.t.Errorf("%s: %d bytes came again", where, again)
	}
}

// endure has one connection break: the verb does not mind.
func (p *place) endure(l *line, c caller, f fault, at int64) {
	p.t.Helper()
	if f == gone {
		f = reset
	}
	c.again(p)
	l.breakAt(f, at, true)
	p.patience = 10 * patience
	p.run(c.words...)
	p.patience = 0
	c.check(p)
	l.mend()
}
