package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A file grows, is put away and replaced while it is followed: all lines come, once each,
// and the last though it has no end.
func TestLinesAreFollowedIntoTheNextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write("one\ntw")
	turns := []func(){
		func() { write("o\n") },
		func() {
			write("three\n")
			if err := os.Rename(path, path+".1"); err != nil {
				t.Fatal(err)
			}
			write("four\nfi")
		},
	}
	over := func() bool {
		if len(turns) == 0 {
			return true
		}
		turns[0]()
		turns = turns[1:]
		return false
	}
	var got []string
	err := followLines(t.Context(), path, over, func(line string) error { got = append(got, line); return nil })
	if want := []string{"one", "two", "three", "four", "fi"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
