package ipfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"holdfast/internal/oci"
)

// soon waits for what happens in the background.
func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatal("not yet: " + what)
}

func rootOf(t *testing.T, b []byte) cid.Cid {
	t.Helper()
	dag, _, err := BuildUnnamed(t.Context(), bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return dag.Root
}

func has(t *testing.T, s *Store, c cid.Cid) bool {
	t.Helper()
	ok, err := s.Has(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestStoredBlobIsFoundByItsRootWithoutAnybodyAsking(t *testing.T) {
	s, p := newStore(t)
	s.Start()
	b := stream(t, 3<<20)
	s.Stored(put(t, p, b))
	soon(t, "root", func() bool { return has(t, s, rootOf(t, b)) })
}

func TestRemovedBlobLeavesTheIndex(t *testing.T) {
	s, p := newStore(t)
	s.Start()
	one, other := stream(t, 3<<20), stream(t, 4<<20) // they begin alike
	d, stays := put(t, p, one), put(t, p, other)
	root, staying := dagOfBlob(t, s, d).Root, dagOfBlob(t, s, stays).Root
	if err := p.Remove(d); err != nil {
		t.Fatal(err)
	}
	if has(t, s, root) {
		t.Error("the root is still served")
	}
	soon(t, "index forgets", func() bool { known, err := s.index.dag(d); return err == nil && known == nil })
	var got bytes.Buffer
	if err := s.WriteFile(t.Context(), staying, &got); err != nil || !bytes.Equal(got.Bytes(), other) {
		t.Errorf("the other blob: %d bytes, %v", got.Len(), err)
	}
}

func TestWhatIsIndexedIsFoundWhileOthersAreWrittenDown(t *testing.T) {
	s, p := newStore(t)
	d := put(t, p, stream(t, 3<<20))
	dagOfBlob(t, s, d)
	written := make(chan error, 1)
	go func() {
		var err error
		for range 100 {
			err = errors.Join(err, s.index.settle())
		}
		written <- err
	}()
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if known, err := s.index.dag(d); err != nil || known == nil {
					t.Errorf("got %v and %v, want the blob's record", known, err)
					return
				}
			}
		})
	}
	must(t, <-written)
	close(stop)
	readers.Wait()
}

func TestADAGWaitsForItsTurnNoLongerThanItsAsker(t *testing.T) {
	s, p := newStore(t)
	d := put(t, p, stream(t, 3<<20))
	for range cap(s.turns) { // all processors are busy
		s.turns <- struct{}{}
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.DAG(short, d); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the time was over", err)
	}
	<-s.turns
	dagOfBlob(t, s, d)
}

func TestIndexIsMadeAnewWhenItIsLost(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"gone":    func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"no bolt": func(t *testing.T, path string) { must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 64<<10), 0o600)) },
		"short":   func(t *testing.T, path string) { must(t, os.Truncate(path, 8<<10)) },
		"empty":   func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"zeroed": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt(make([]byte, 24<<10), 8<<10)
			must(t, errors.Join(err, f.Close()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, p := openStore(t, dir), openPool(t, dir)
			s.Start()
			b := stream(t, 3<<20)
			d := put(t, p, b)
			root := dagOfBlob(t, s, d).Root
			must(t, s.Close())
			harm(t, filepath.Join(dir, Dir, "index.db"))
			s = openStore(t, dir)
			s.Start()
			soon(t, "root", func() bool { ok, err := s.Has(t.Context(), root); return ok && err == nil })
			if got := dagOfBlob(t, s, d).Root; got != root {
				t.Errorf("root is %s, was %s", got, root)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle makes an index that is whole, as a process leaves it that ends well.
func settle(t *testing.T, dir string) {
	t.Helper()
	b := stream(t, 3<<20)
	put(t, openPool(t, dir), b)
	s := openStore(t, dir)
	s.Start()
	soon(t, "first look", func() bool { return has(t, s, rootOf(t, b)) && s.settler.idle() })
	must(t, s.Close())
}

func TestWhatAKilledProcessDidNotIndexIsFoundAtTheNextStart(t *testing.T) {
	dir := t.TempDir()
	p := openPool(t, dir)
	settle(t, dir)
	b := stream(t, 5<<20)
	root := rootOf(t, b)
	dead := openStore(t, dir) // its index says that all is well, until it starts
	dead.config.Quiet = time.Hour
	dead.Start()
	soon(t, "unsettled", func() bool { settled, err := dead.index.unsettle(); return err == nil && !settled })
	dead.Stored(put(t, p, b))
	dead.index.close() // killed: nothing more is written
	next := openStore(t, dir)
	next.Start()
	soon(t, "root", func() bool { return has(t, next, root) })
}

func TestSettledIndexIsNotComparedAgain(t *testing.T) {
	dir := t.TempDir()
	settle(t, dir)
	settled, err := openStore(t, dir).index.unsettle()
	if err != nil || !settled {
		t.Errorf("got %v, %v", settled, err)
	}
}

func TestAnotherProcessReadsTheIndexThatAServerUses(t *testing.T) {
	dir := t.TempDir()
	server, verb, p := openStore(t, dir), openStore(t, dir), openPool(t, dir)
	server.Start()
	d := put(t, p, stream(t, 3<<20))
	root := dagOfBlob(t, server, d).Root
	if got, err := verb.Blob(root); err != nil || got != d {
		t.Errorf("got %s, %v", got, err)
	}
	other := dagOfBlob(t, verb, put(t, p, stream(t, 5<<20))).Root // once the server lets go
	if !has(t, server, other) {
		t.Error("the server does not see what the verb wrote")
	}
}

func TestStagedBlocksAreBounded(t *testing.T) {
	s := newStaging(3 << 20)
	var first cid.Cid
	for i := range 10 {
		b := bytes.Repeat([]byte{byte(i)}, 1<<20)
		c, err := raw.Sum(b)
		must(t, err)
		must(t, s.put(c, b))
		if i == 0 {
			first = c
		}
		if i == 1 && s.get(first) == nil {
			t.Error("the first block is gone too soon")
		}
	}
	if s.size > 3<<20 || len(s.blocks) != 3 || s.get(first) != nil {
		t.Errorf("%d bytes in %d blocks are held", s.size, len(s.blocks))
	}
	if err := s.put(first, []byte("other bytes")); err == nil {
		t.Error("it took a block that is not what its CID names")
	}
}

func TestUnknownBlocksAreNotFound(t *testing.T) {
	s, _ := newStore(t)
	c, err := DigestCID(oci.SHA256([]byte("nobody has this")))
	must(t, err)
	if _, err := s.Get(t.Context(), c); !format.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestTheIndexWaitsWhileItIsHeld(t *testing.T) {
	s, p := newStore(t)
	release := s.Hold()
	s.Start()
	b := stream(t, 3<<20)
	s.Stored(put(t, p, b))
	time.Sleep(50 * time.Millisecond) // fifty times as long as it waits by itself
	if has(t, s, rootOf(t, b)) {
		t.Error("it did not wait")
	}
	release()
	soon(t, "root", func() bool { return has(t, s, rootOf(t, b)) })
}
