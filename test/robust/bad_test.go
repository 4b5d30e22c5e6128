package robust

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/deb/debtest"
)

// A kind of bad file takes the place of a good one, whose content is given.
type kind struct {
	name string
	make func(path string, good []byte) error
}

var kinds = []kind{
	{"empty", func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o644) }},
	{"truncated", func(path string, good []byte) error { return os.WriteFile(path, good[:len(good)/2], 0o644) }},
	{"garbage", func(path string, _ []byte) error { return os.WriteFile(path, []byte(debtest.Noise(7, 5000)), 0o644) }},
	{"wrong type", func(path string, _ []byte) error {
		return os.WriteFile(path, []byte(`{"version": [7], "keys": "x"}`), 0o644)
	}},
	{"wrong text", func(path string, _ []byte) error { return os.WriteFile(path, []byte("name: [1, {}]\n"), 0o644) }},
	{"deep", func(path string, _ []byte) error { return os.WriteFile(path, bytes.Repeat([]byte("["), 1<<20), 0o644) }},
	{"huge", func(path string, good []byte) error {
		return errors.Join(os.WriteFile(path, good, 0o644), os.Truncate(path, 8<<30))
	}},
	{"folder", func(path string, _ []byte) error { return os.Mkdir(path, 0o755) }},
	{"pipe", func(path string, _ []byte) error { return syscall.Mkfifo(path, 0o644) }},
	{"endless", func(path string, _ []byte) error { return os.Symlink("/dev/zero", path) }},
	{"loop", func(path string, _ []byte) error { return os.Symlink(filepath.Base(path), path) }},
	{"absent", func(string, []byte) error { return nil }},
}

// A reader is a verb and a file that it reads.
type reader struct {
	file  string // relative to the place
	words []string
	// makes is what the verb would make: it must not be there afterwards.
	makes string
	// fine lists kinds of which the verb can make sense: they are not tried.
	fine []string
	// says replaces the file's name as what the error has to name.
	says string
	// prepare changes the place before the file is spoiled.
	prepare func(t *testing.T, p *place)
}

// How long a verb may take to notice, and how much it may hold. A verb that waits
// in vain waits for ever; others take their time on a machine that is busy.
const (
	notices = time.Minute
	holds   = 200_000_000
	longest = 600 // bytes of what still is one clear line
)

// unclear is what a person cannot make sense of: Go's own words, and the
// library's for a file that ends too soon.
var unclear = regexp.MustCompile(`panic|goroutine|runtime error|\.go:\d|Go value|Go struct|\bof type [a-z]+\.[A-Z]|` +
	`unexpected EOF|: EOF$|\bnil\b|%!|invalid memory|!!(?:seq|map|str|int)|unmarshal`)

// kinds are what is tried on the reader: all, or a sample.
func (r reader) kinds(random *rand.Rand) []kind {
	tried := slices.DeleteFunc(slices.Clone(kinds), func(k kind) bool { return slices.Contains(r.fine, k.name) })
	if !soak() {
		random.Shuffle(len(tried), func(i, j int) { tried[i], tried[j] = tried[j], tried[i] })
		tried = tried[:min(3, len(tried))]
	}
	return tried
}

// check wants a failure told in one clear line that names the file.
func (r reader) check(p *place) error {
	var out bytes.Buffer
	c := p.command(r.words...)
	c.Stdout, c.Stderr = nil, &out
	c.Stdin = strings.NewReader("")
	began := time.Now()
	if err := c.Start(); err != nil {
		return err
	}
	stop := time.AfterFunc(notices, func() { _ = c.Process.Kill() })
	held := watch(c.Process.Pid)
	err := c.Wait()
	most := <-held
	stop.Stop()
	text := strings.TrimSpace(out.String())
	switch {
	case time.Since(began) > notices:
		return fmt.Errorf("still at work after %v: %s", notices, text)
	case most > holds:
		return fmt.Errorf("held %d MB", most/1e6)
	case err == nil:
		return fmt.Errorf("succeeded")
	}
	return errors.Join(r.told(text), r.untouched(p))
}

func (r reader) told(text string) error {
	lines := strings.Split(text, "\n")
	if strings.HasPrefix(lines[len(lines)-1], "hint: ") {
		lines = lines[:len(lines)-1]
	}
	line := lines[len(lines)-1]
	names := r.says
	if names == "" {
		names = filepath.Base(r.file)
	}
	switch {
	case !strings.HasPrefix(line, "holdfast: "):
		return fmt.Errorf("said no error: %q", text)
	case len(line) > longest:
		return fmt.Errorf("%d bytes are no clear line: %q", len(line), line)
	case unclear.MatchString(line):
		return fmt.Errorf("unclear: %q", line)
	case !strings.Contains(line, names):
		return fmt.Errorf("does not name %s: %q", names, line)
	}
	return nil
}

func (r reader) untouched(p *place) error {
	if r.makes == "" {
		return nil
	}
	if _, err := os.Lstat(p.path(r.makes)); err == nil {
		return fmt.Errorf("made %s", r.makes)
	}
	return nil
}

func TestEveryBadFileIsRefusedInOneClearLine(t *testing.T) {
	p, r := goodPlace(t), seed(t)
	all := readers(p)
	for _, name := range slices.Sorted(maps.Keys(all)) { // in order: a seed repeats the sample
		reader := all[name]
		tried := reader.kinds(r)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, r := p.clone(t), reader
			if r.prepare != nil {
				r.prepare(t, p)
			}
			path := p.path(r.file)
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range tried {
				if err := errors.Join(os.RemoveAll(path), k.make(path, good)); err != nil {
					t.Fatal(err)
				}
				if err := r.check(p); err != nil {
					t.Errorf("%s: %v", k.name, err)
				}
				if r.makes != "" {
					_ = os.RemoveAll(p.path(r.makes))
				}
			}
		})
	}
}
