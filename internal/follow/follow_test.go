package follow

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func read(paths ...string) func() (string, []string, error) {
	return func() (string, []string, error) {
		all := ""
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				return "", paths, err
			}
			if strings.Contains(string(b), "bad") {
				return "", paths, errors.New(p + ": is bad")
			}
			all += string(b)
		}
		return all, paths, nil
	}
}

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { c.now = c.now.Add(time.Second); return c.now }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEveryWayOfChangingAFileIsSeen(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, a, "one")
	write(t, b, "two")
	f, err := Open(Config[string]{Read: read(a, b), Now: new(clock).Now})
	if err != nil {
		t.Fatal(err)
	}
	want := func(text string) {
		t.Helper()
		if got := f.Get(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	want("onetwo")
	write(t, b, "three")
	want("onethree")
	// Another file of the same size and time under the name, as a symbolic link that is turned.
	old, _ := os.Stat(a)
	write(t, a+".new", "ten")
	_ = os.Chtimes(a+".new", old.ModTime(), old.ModTime())
	_ = os.Remove(a)
	if err := os.Symlink(a+".new", a); err != nil {
		t.Fatal(err)
	}
	want("tenthree")
}

func TestWhatIsBadChangesNothingAndIsLoggedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	var log bytes.Buffer
	c := Config[string]{Read: read(path), Now: new(clock).Now, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := Open(c); err == nil {
		t.Error("a file that is not there was opened")
	}
	write(t, path, "good")
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(){
		func() { write(t, path, "this is bad") },
		func() { _ = os.Remove(path) },
	} {
		log.Reset()
		change()
		for range 2 {
			if f.Get() != "good" {
				t.Error("what it said before is gone")
			}
		}
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), path) {
			t.Errorf("logged %d times: %s", n, &log)
		}
	}
	write(t, path, "better")
	if got := f.Get(); got != "better" {
		t.Errorf("got %q, want the file that is good again", got)
	}
}

func TestWhatAVanishedFileGrantedIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "granted")
	f, err := Open(Config[string]{Read: read(path), Trust: true, Now: new(clock).Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func()
		want   string
	}{
		{func() { write(t, path, "this is bad") }, "granted"},
		{func() { _ = os.Remove(path) }, ""},
		{func() { write(t, path, "again") }, "again"},
	} {
		if c.change(); f.Get() != c.want {
			t.Errorf("got %q, want %q", f.Get(), c.want)
		}
	}
	none := func() (string, []string, error) { // which finds nothing wrong without the file
		text, files, err := read(path)()
		if errors.Is(err, os.ErrNotExist) {
			return "nobody", files, nil
		}
		return text, files, err
	}
	if f, err = Open(Config[string]{Read: none, Trust: true, Now: new(clock).Now}); err != nil || f.Get() != "again" {
		t.Fatalf("got %q %v", f.Get(), err)
	}
	_ = os.Remove(path)
	if got := f.Get(); got != "nobody" {
		t.Errorf("got %q", got)
	}
}

func TestFilesAreNotLookedAtForEachQuestion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "one")
	now := time.Now()
	f, err := Open(Config[string]{Read: read(path), Every: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "two!")
	if got := f.Get(); got != "one" {
		t.Errorf("got %q within the minute", got)
	}
	now = now.Add(time.Minute)
	if got := f.Get(); got != "two!" {
		t.Errorf("got %q after the minute", got)
	}
}

// As if somebody edited the file while the program starts.
func TestWhatIsChangedWhileItIsFirstReadIsSeen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "before")
	first := true
	f, err := Open(Config[string]{Read: func() (string, []string, error) {
		value, files, err := read(path)()
		if first {
			first = false
			write(t, path, "after, and longer")
		}
		return value, files, err
	}, Now: new(clock).Now})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Get(); got != "after, and longer" {
		t.Errorf("got %q", got)
	}
}
