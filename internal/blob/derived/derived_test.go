package derived

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, limit int64) *Cache {
	t.Helper()
	c, err := New(filepath.Join(t.TempDir(), "derived"), limit)
	check(t, err)
	return c
}

func put(t *testing.T, c *Cache, k Key, text string) {
	t.Helper()
	check(t, c.Put(k, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}))
}

// kept is what c has under k, or "nothing".
func kept(t *testing.T, c *Cache, k Key) string {
	t.Helper()
	e := c.Open(k)
	if e == nil {
		return "nothing"
	}
	raw, err := io.ReadAll(e)
	check(t, errors.Join(err, e.Close()))
	return string(raw)
}

func TestWhatWasPutIsGiven(t *testing.T) {
	c, k := open(t, 1<<20), KeyOf("layer", "a")
	if got := kept(t, c, k); got != "nothing" {
		t.Errorf("an empty cache gives %q", got)
	}
	for _, text := range []string{"one", "", strings.Repeat("two", 1<<20)} {
		put(t, c, k, text)
		if got := kept(t, c, k); got != text {
			t.Errorf("got %d bytes, want %d", len(got), len(text))
		}
	}
}

func TestNoTwoListsOfInputsHaveOneKey(t *testing.T) {
	seen := map[Key]bool{}
	lists := [][]string{{"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {}}
	for _, kind := range []string{"a", "b", ""} {
		for _, list := range lists {
			seen[KeyOf(kind, list...)] = true
		}
	}
	if want := 3 * len(lists); len(seen) != want {
		t.Errorf("got %d keys, want %d", len(seen), want)
	}
}

func TestDamagedEntryIsAsIfNothingWasThere(t *testing.T) {
	c, k := open(t, 1<<20), KeyOf("layer", "a")
	put(t, c, k, "good bytes")
	good, err := os.ReadFile(c.path(k))
	check(t, err)
	for i := range good {
		bad := append([]byte{}, good...)
		bad[i] ^= 1
		for what, content := range map[string][]byte{"flipped at": bad, "cut off after": good[:i]} {
			check(t, os.WriteFile(c.path(k), content, 0o600))
			if got := kept(t, c, k); got != "nothing" {
				t.Fatalf("%s %d: got %q", what, i, got)
			}
			if _, err := os.Stat(c.path(k)); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%s %d: it is still there", what, i)
			}
		}
	}
	other := KeyOf("layer", "b")
	check(t, os.WriteFile(c.path(other), good, 0o600))
	if got := kept(t, c, other); got != "nothing" {
		t.Errorf("under another's name: got %q", got)
	}
}

func TestWriterThatFailsLeavesNothing(t *testing.T) {
	c, k := open(t, 1<<20), KeyOf("layer", "a")
	stop := errors.New("stop")
	err := c.Put(k, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return stop
	})
	left, _ := os.ReadDir(c.dir)
	if !errors.Is(err, stop) || len(left) != 0 {
		t.Errorf("got %v and %d files, want %v and none", err, len(left), stop)
	}
}

func TestWhatWasLongestNotUsedGoesFirst(t *testing.T) {
	c := open(t, 3*(100+32))
	long := strings.Repeat("x", 100)
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		put(t, c, KeyOf(name), long)
		old := time.Now().Add(time.Duration(i-10) * time.Hour)
		check(t, os.Chtimes(c.path(KeyOf(name)), old, old))
	}
	open := c.Open(KeyOf("b")) // the oldest but one, used now
	defer open.Close()
	check(t, c.Prune())
	var left []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if kept(t, c, KeyOf(name)) == long {
			left = append(left, name)
		}
	}
	if got := strings.Join(left, ""); got != "bde" {
		t.Errorf("got %s left, want bde", got)
	}
	check(t, os.Remove(c.path(KeyOf("b"))))
	if raw, err := io.ReadAll(open); err != nil || string(raw) != long {
		t.Errorf("what is open and was removed: got %d bytes and %v", len(raw), err)
	}
}

func TestNoCacheKeepsNothing(t *testing.T) {
	var c *Cache
	check(t, errors.Join(c.Put(Key{}, func(io.Writer) error { return errors.New("called") }), c.Prune()))
	if c.Open(Key{}) != nil {
		t.Error("got something")
	}
}
