package dir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/blobtest"
	"holdfast/internal/oci"
)

var ctx = context.Background()

func TestStoreKeepsThePromises(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, t.TempDir()) })
}

func TestRottenBlobIsReportedAndForgotten(t *testing.T) {
	for name, rot := range map[string]string{"truncated": "good byt", "altered": "good bites"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			s := open(t, root)
			d := oci.SHA256([]byte("good bytes"))
			if err := s.Put(ctx, d, strings.NewReader("good bytes")); err != nil {
				t.Fatal(err)
			}
			path, _ := s.path(d)
			if err := os.WriteFile(path, []byte(rot), 0o644); err != nil {
				t.Fatal(err)
			}
			var mismatch *blob.MismatchError
			if err := blob.Verify(ctx, s, d); !errors.As(err, &mismatch) {
				t.Fatalf("got %v, want a MismatchError", err)
			}
			if has, _ := s.Has(ctx, d); has {
				t.Fatal("the rotten blob is still there")
			}
		})
	}
}

func TestRottenBlobThatWasReplacedMeanwhileStays(t *testing.T) {
	s := open(t, t.TempDir())
	d := oci.SHA256([]byte("good"))
	path, _ := s.path(d)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("bad!"), 0o644)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := s.Put(ctx, d, strings.NewReader("good")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); err == nil {
		t.Fatal("the rotten bytes were believed")
	}
	if err := blob.Verify(ctx, s, d); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyAbandonedFilesAreSwept(t *testing.T) {
	root := t.TempDir()
	shard := filepath.Join(root, "sha256", "ab")
	old, fresh := filepath.Join(shard, ".tmp-old"), filepath.Join(shard, ".tmp-fresh")
	err := errors.Join(os.MkdirAll(shard, 0o755), os.WriteFile(old, nil, 0o600), os.WriteFile(fresh, nil, 0o600),
		os.Chtimes(old, time.Time{}, time.Now().Add(-2*abandoned)))
	if err != nil {
		t.Fatal(err)
	}
	open(t, root)
	if _, err := os.Stat(old); err == nil {
		t.Error("what a crash left is still there")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("another process's work was removed:", err)
	}
}

func open(t *testing.T, root string) *Store {
	t.Helper()
	s, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
