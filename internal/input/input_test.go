package input

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestOnlyWhatFitsIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 5); string(got) != "12345" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, path := range []string{path, "/dev/zero"} {
		_, err := ReadFile(path, 4)
		if !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), path+": too large: more than 4 bytes") {
			t.Errorf("%s: got %v, want it named and its limit", path, err)
		}
	}
}

func TestAFolderIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(dir, 1); err == nil || !strings.Contains(err.Error(), dir+": is a folder, want a file") {
		t.Errorf("got %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), dir+": want an ordinary file") {
		t.Errorf("got %v", err)
	}
}

func TestAPipeIsReadAndNeverWaitedForInVain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path, 9); len(got) > 0 || err != nil {
		t.Errorf("without a writer: got %q, %v, want nothing", got, err)
	}
	if _, err := Open(path); err == nil {
		t.Error("a pipe passed for an ordinary file")
	}
	both, err := os.OpenFile(path, os.O_RDWR, 0) // opens without a reader
	if err != nil {
		t.Fatal(err)
	}
	keep, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // what is written stays until it is read
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	go func() {
		time.Sleep(20 * time.Millisecond)
		_, _ = both.WriteString("slow")
		_ = both.Close()
	}()
	if got, err := ReadFile(path, 9); string(got) != "slow" || err != nil {
		t.Errorf("with a slow writer: got %q, %v", got, err)
	}
}

func TestErrorsOfJSONSpeakOfTheDocument(t *testing.T) {
	for text, want := range map[string]string{
		" \n":           "is empty, want a JSON document",
		`{"a": [`:       "ends in the middle of a JSON document, after 7 bytes",
		`{"b": "x"}`:    `field "b" holds a JSON string, which does not belong there`,
		`[1]`:           "a JSON array, which does not belong there",
		"\x7fELF":       "is no JSON document, at byte 1",
		`{"b": 1} more`: "is no JSON document, at byte 10",
	} {
		err := JSON([]byte(text), &struct {
			B int `json:"b"`
		}{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
