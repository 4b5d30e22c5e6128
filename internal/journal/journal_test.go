package journal

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// said reads a journal back, stream by stream.
func said(t *testing.T, path string) map[Stream]string {
	t.Helper()
	got := map[Stream]string{}
	err := Read(path, func(e Entry) error { got[e.Stream] += string(e.Data); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func create(t *testing.T, limit int64) (*Writer, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "output")
	w, err := Create(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, path
}

func write(t *testing.T, w *Writer, s Stream, p []byte) {
	t.Helper()
	if n, err := w.Stream(s).Write(p); n != len(p) || err != nil {
		t.Fatalf("got %d and %v, want %d bytes taken", n, err, len(p))
	}
}

func TestBytesComeBackAsTheyWereAndApart(t *testing.T) {
	w, path := create(t, DefaultSize)
	binary := bytes.Repeat([]byte{0, 0xff, '\r', 0x1b, '\n'}, 100_000) // more than an entry holds
	write(t, w, Stdout, binary)
	write(t, w, Stderr, []byte("no line feed at the end"))
	write(t, w, Stdout, nil)
	got := said(t, path)
	if got[Stdout] != string(binary) || got[Stderr] != "no line feed at the end" || got[Note] != "" {
		t.Errorf("got %d and %q and %q", len(got[Stdout]), got[Stderr], got[Note])
	}
}

func TestAJournalStaysInItsBoundsAndSaysWhatWent(t *testing.T) {
	const limit = 100_000
	w, path := create(t, limit)
	for range 200 {
		write(t, w, Stdout, []byte(strings.Repeat("x", 5000)+"\n"))
	}
	write(t, w, Stdout, []byte("last\n"))
	var total int64
	for _, p := range []string{path, older(path)} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	got := said(t, path)
	if total > limit || !strings.HasSuffix(got[Stdout], "x\nlast\n") || len(got[Stdout]) < limit/3 {
		t.Errorf("got %d bytes on disk and %d of output", total, len(got[Stdout]))
	}
	if !strings.Contains(got[Note], "bytes of older output were dropped") {
		t.Errorf("got note %q", got[Note])
	}
}

func TestAWriterKilledWithinAnEntryHidesNothingBefore(t *testing.T) {
	w, path := create(t, DefaultSize)
	write(t, w, Stdout, []byte("whole"))
	write(t, w, Stdout, []byte("half"))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(1); cut < header+4; cut++ {
		if err := os.Truncate(path, info.Size()-cut); err != nil {
			t.Fatal(err)
		}
		if got := said(t, path); got[Stdout] != "whole" {
			t.Errorf("cut by %d: got %q", cut, got[Stdout])
		}
	}
}

func TestAForeignFileIsNamedAsSuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(path, []byte("this is the log of some other program"), 0o600); err != nil {
		t.Fatal(err)
	}
	var form *FormError
	if err := Read(path, func(Entry) error { return nil }); !errors.As(err, &form) {
		t.Errorf("got %v, want a FormError", err)
	}
}

func TestAFullDiskLosesBytesButNeverTheWriter(t *testing.T) {
	w, path := create(t, DefaultSize)
	write(t, w, Stdout, []byte("before "))
	whole := w.file
	broken, err := os.Open(os.DevNull) // cannot be written
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	w.file = broken
	write(t, w, Stdout, []byte("during"))
	w.file = whole
	write(t, w, Stdout, []byte("after"))
	got := said(t, path)
	if got[Stdout] != "before after" || !strings.Contains(got[Note], "6 bytes were lost") {
		t.Errorf("got %q and note %q", got[Stdout], got[Note])
	}
}

func TestAFollowerMissesNothingWhenTheFileTurns(t *testing.T) {
	w, path := create(t, 60_000)
	over := make(chan struct{})
	var want bytes.Buffer
	go func() {
		defer close(over)
		for i := range 10 {
			line := []byte(strings.Repeat(string(rune('a'+i)), 4000))
			want.Write(line)
			_, _ = w.Stream(Stderr).Write(line)
		}
	}()
	var got bytes.Buffer
	err := Follow(t.Context(), path, func() bool {
		select {
		case <-over:
			return true
		default:
			return false
		}
	}, func(e Entry) error { got.Write(e.Data); return nil })
	if err != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got %v and %d bytes, want %d", err, got.Len(), want.Len())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Follow(ctx, path, func() bool { return false }, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}

// A reader that comes between the writer's two steps reads both halves.
func TestAReaderWaitsForTheMiddleOfATurn(t *testing.T) {
	w, path := create(t, DefaultSize)
	write(t, w, Stdout, []byte("old "))
	if err := os.Rename(path, older(path)); err != nil {
		t.Fatal(err)
	}
	began := make(chan error, 1)
	go func() {
		time.Sleep(50 * time.Millisecond)
		next, err := Create(filepath.Join(t.TempDir(), "journal"), DefaultSize)
		if err == nil {
			_, err = next.Stream(Stdout).Write([]byte("new"))
		}
		if err == nil {
			err = os.Rename(next.path, path)
		}
		began <- err
	}()
	if got := said(t, path)[Stdout]; got != "old new" {
		t.Errorf("got %q, want both halves", got)
	}
	if err := <-began; err != nil {
		t.Error(err)
	}
}

//fuzz:parser read.go:read
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x01\x01\x00\x00\x00\x02hi"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x01\x09\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bytes.NewReader(raw)
		for offset := int64(0); ; {
			e, n, err := read(r, offset)
			if err != nil {
				return
			}
			if offset += n; n != header+int64(len(e.Data)) || offset > int64(len(raw)) {
				t.Fatalf("entry of %d bytes ends at %d of %d", n, offset, len(raw))
			}
		}
	})
}
