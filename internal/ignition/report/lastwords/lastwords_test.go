package lastwords

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/swtpm"
)

func newWords(t *testing.T) Words {
	t.Helper()
	if err := swtpm.Installed(); err != nil {
		t.Skip(err)
	}
	home := t.TempDir()
	dir := filepath.Join(home, "tpm")
	if err := swtpm.Manufacture(t.Context(), swtpm.Config{Dir: dir, CADir: filepath.Join(home, "ca")}); err != nil {
		t.Fatal(err)
	}
	return Words{Open: func(ctx context.Context) (transport.TPMCloser, error) { return swtpm.Open(ctx, dir) }}
}

func TestWordsOutliveTheirBoot(t *testing.T) {
	w := newWords(t) // each call is a boot of its own
	for _, words := range []string{"", "the first failure", strings.Repeat("x", Max), "a shorter one", ""} {
		if err := w.Write(t.Context(), []byte(words)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := w.Read(t.Context()); err != nil || string(got) != words {
				t.Errorf("got %.40q, %v, want %.40q", got, err, words)
			}
		}
	}
	if err := w.Write(t.Context(), make([]byte, Max+1)); err == nil {
		t.Error("too many words are taken")
	}
}

func TestWordsThatAreNotWholeAreNone(t *testing.T) {
	w := newWords(t)
	if err := w.Write(t.Context(), []byte("the failure")); err != nil {
		t.Fatal(err)
	}
	err := w.with(t.Context(), func(tpm transport.TPM, index *tpm2.NamedHandle) error {
		_, err := tpm2.NVWrite{AuthHandle: tpm2.TPMRHOwner, NVIndex: *index, Offset: head, Data: tpm2.TPM2BMaxNVBuffer{Buffer: []byte("half")}}.Execute(tpm)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.Read(t.Context()); err != nil || got != nil {
		t.Errorf("got %q, %v, want nothing", got, err)
	}
}

// What is read is what was written with its sum before it, or nothing.
//
//fuzz:parser lastwords.go:parse
func FuzzParse(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(bytes.Repeat([]byte{0}, size))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if words := parse(raw); words != nil && (len(words) > len(raw)-head || !bytes.Contains(raw, words)) {
			t.Errorf("got %q of %q", words, raw)
		}
	})
}
