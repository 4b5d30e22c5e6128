package atomicfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestFailedWriteLeavesTheOldFileAndNoOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(path, 0o600, func(w io.Writer) error {
		_, _ = w.Write([]byte("ne"))
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Fatalf("got %q, want the old content", got)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Fatalf("got %d files, want only the old one", len(list))
	}
}

func TestWritersOfOnePathLeaveOneOfTheirFilesAndNoOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				if err := WriteFile(path, bytes.Repeat([]byte{byte(i)}, 100+i), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got, err := os.ReadFile(path)
	if err != nil || len(got) != 100+int(got[0]) || bytes.Count(got, got[:1]) != len(got) {
		t.Fatalf("got %d bytes %.10x, %v, want one writer's", len(got), got, err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Fatalf("got %v, want one file", list)
	}
}

func TestAFileBeingWrittenHasNoName(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "a"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if f.temp != "" {
		t.Skip("the file system of TMPDIR cannot hold files without a name: set it to a folder on ext4, xfs, btrfs or tmpfs")
	}
	if list, _ := os.ReadDir(dir); len(list) != 0 {
		t.Fatalf("got %v, want nothing that a kill would leave", list)
	}
}

func TestPermissionIgnoresUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o666 {
		t.Fatalf("got mode %o, want 666", got)
	}
}

func TestLockExcludesAndHonoursContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second lock: got %v, want deadline exceeded", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	_ = again()
}

// Who keeps the file open excludes who opens it each time, and the other way
// round, also when a holder removed it in between.
func TestALatchIsTheLockOfItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ctx, latch := context.Background(), NewLatch(path)
	locked := func() bool {
		f, err := TryLock(path)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			_ = f.Close()
		}
		return f == nil
	}
	for round := range 4 {
		unlock, err := latch.Lock(ctx)
		if err != nil || !locked() {
			t.Fatalf("round %d: got %v, and the path is locked: %t", round, err, locked())
		}
		if round%2 == 1 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := unlock(); err != nil || locked() {
			t.Fatalf("round %d: let go of with %v, and the path is locked: %t", round, err, locked())
		}
	}
	unlock, err := Lock(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, 120*time.Millisecond)
	defer cancel()
	if _, err := latch.Lock(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want to wait for whoever has it", err)
	}
	_ = unlock()
}
