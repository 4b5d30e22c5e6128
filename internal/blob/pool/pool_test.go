package pool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/blob"
	"holdfast/internal/blob/blobtest"
	"holdfast/internal/oci"
)

var ctx = context.Background()

func open(t testing.TB) (*Pool, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), Dir)
	p, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	return p, root
}

func put(t testing.TB, p *Pool, content string) oci.Digest {
	t.Helper()
	d := oci.SHA256([]byte(content))
	if err := p.Put(ctx, d, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPoolKeepsThePromisesOfAStore(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { p, _ := open(t); return p })
}

func TestALinkIsTheSameFile(t *testing.T) {
	p, root := open(t)
	d := put(t, p, "once on the disk")
	name := filepath.Join(filepath.Dir(root), "name")
	for range 2 {
		if err := p.Link(d, name); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := p.Stat(d); err != nil || info.Links != 2 || info.Size != 16 {
		t.Errorf("got %+v and %v, want 2 links of 16 bytes", info, err)
	}
	if err := p.Link(oci.SHA256(nil), name+"2"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestALinkReplacesAnotherFile(t *testing.T) {
	p, root := open(t)
	d := put(t, p, "good")
	name := filepath.Join(filepath.Dir(root), "name")
	if err := os.WriteFile(name, []byte("bad!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Link(d, name); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "good" {
		t.Errorf("got %q", got)
	}
}

func TestAddKeepsWhatIsThere(t *testing.T) {
	p, root := open(t)
	d := put(t, p, "first")
	second := filepath.Join(filepath.Dir(root), "second")
	if err := os.WriteFile(second, []byte("first"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Add(d, second), p.Move(d, second)); err != nil {
		t.Fatal(err)
	}
	if info, _ := p.Stat(d); info.Links != 1 {
		t.Errorf("got %d links, want the first file", info.Links)
	}
}

func TestAFileThatIsMovedInHasNoOtherName(t *testing.T) {
	p, root := open(t)
	d, from := oci.SHA256([]byte("moved")), filepath.Join(filepath.Dir(root), "from")
	if err := os.WriteFile(from, []byte("moved"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Move(d, from); err != nil {
		t.Fatal(err)
	}
	if info, err := p.Stat(d); err != nil || info.Links != 1 {
		t.Errorf("got %+v and %v, want one name", info, err)
	}
}

func TestRottenBytesGoToQuarantine(t *testing.T) {
	p, root := open(t)
	d := put(t, p, "good bytes")
	link := filepath.Join(filepath.Dir(root), "link")
	if err := p.Link(d, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(link, []byte("good bites"), 0o644); err != nil {
		t.Fatal(err)
	}
	var mismatch *blob.MismatchError
	if err := blob.Verify(ctx, p, d); !errors.As(err, &mismatch) {
		t.Fatalf("got %v, want a MismatchError", err)
	}
	info, _ := os.Stat(link)
	if has, _ := p.Has(ctx, d); has || !p.IsQuarantined(d, info) {
		t.Errorf("in the pool: %v; the link is known to be rotten: %v", has, p.IsQuarantined(d, info))
	}
	put(t, p, "good bytes")
	if err := p.Link(d, link); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(link); p.IsQuarantined(d, info) {
		t.Error("the good blob is taken for the rotten one")
	}
}

func TestOnlyWhatNobodyHoldsIsUnused(t *testing.T) {
	p, root := open(t)
	held, unused := put(t, p, "held"), put(t, p, "unused")
	if err := p.Link(held, filepath.Join(filepath.Dir(root), "link")); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[oci.Digest]bool{held: false, unused: true} {
		if got, err := p.RemoveUnused(d); got != want || err != nil {
			t.Errorf("%s: got %v and %v, want %v", d.Short(), got, err, want)
		}
	}
}

func TestTouchIsSeenInInfo(t *testing.T) {
	p, _ := open(t)
	d := put(t, p, "touched")
	before, err := p.Stat(d)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if err := p.Touch(d); err != nil {
		t.Fatal(err)
	}
	if after, err := p.Stat(d); err != nil || !after.Since.After(before.Since) {
		t.Errorf("got %v and %v, was %v", after.Since, err, before.Since)
	}
}

func TestWalkVisitsBlobsOnly(t *testing.T) {
	p, root := open(t)
	want := map[oci.Digest]bool{put(t, p, "a"): true, put(t, p, "b"): true}
	if err := os.WriteFile(filepath.Join(root, "sha256", ".tmp-x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got := map[oci.Digest]bool{}
	if err := p.Walk(ctx, func(i Info) error { got[i.Digest] = i.Size == 1; return nil }); err != nil {
		t.Fatal(err)
	}
	for d := range want {
		if !got[d] || len(got) != len(want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

// A fake of a file system that takes 3 names for a file: ext4 takes 65,000.
func threeNames(from, to string) error {
	if info, err := os.Stat(from); err == nil && describe("", info).Links >= 3 {
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		}
		return syscall.EMLINK
	}
	return os.Link(from, to)
}

func TestABlobHasMoreHoldersThanAFileCanHaveNames(t *testing.T) {
	p, root := open(t)
	p.link = threeNames
	d := put(t, p, "wanted by all")
	name := func(n int) string { return filepath.Join(filepath.Dir(root), strconv.Itoa(n)) }
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			for range 50 { // others may take the places of the new file
				if err := p.Link(d, name(n)); !errors.Is(err, syscall.EMLINK) {
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
			t.Errorf("name %d is not given", n)
		})
	}
	all.Wait()
	for n := range 20 {
		if got, err := os.ReadFile(name(n)); string(got) != "wanted by all" {
			t.Errorf("%d: got %q and %v", n, got, err)
		}
	}
	if err := p.Link(d, name(0)); err != nil { // leads to the pool's file again
		t.Fatal(err)
	}
	if info, err := os.Stat(name(0)); err != nil {
		t.Error(err)
	} else if in, err := p.Stat(d); err != nil || !in.Is(info) {
		t.Errorf("got %+v and %v, want the pool's file", in, err)
	}
}

func TestWhatRottedIsSetAsideWhenItCanHaveNoMoreNames(t *testing.T) {
	p, root := open(t)
	p.link = threeNames
	d := put(t, p, "good bytes")
	name := filepath.Join(filepath.Dir(root), "name")
	if err := errors.Join(p.Link(d, name), p.Link(d, name+"2"), os.WriteFile(name, []byte("good bites"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := p.Link(d, name+"3"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	info, err := os.Stat(name)
	if err != nil || !p.IsQuarantined(d, info) {
		t.Errorf("got %v, want it in quarantine", err)
	}
	if _, err := os.Stat(name + "3"); err == nil {
		t.Error("rotten bytes have a new name")
	}
}
