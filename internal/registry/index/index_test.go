package index

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"holdfast/internal/oci"
)

func start(t testing.TB) (*DB, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "index.db")
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, path
}

func entry(s string) Entry { return Entry{Digest: oci.SHA256([]byte(s)), MediaType: "m", Size: 1} }

func TestATagMovesAndAManifestStays(t *testing.T) {
	d, _ := start(t)
	one, two := entry("one"), entry("two")
	if err := errors.Join(d.Put("a", one, "v1", "latest"), d.Put("a", two, "latest")); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Tagged("a", "latest"); err != nil || got.Digest != two.Digest {
		t.Errorf("latest is %v, %v", got, err)
	}
	if err := d.Untag("a", "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Tagged("a", "v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := d.Manifest("a", one.Digest); err != nil {
		t.Error(err)
	}
}

func TestADeletedManifestTakesItsTagsAndItsReference(t *testing.T) {
	d, _ := start(t)
	subject := oci.SHA256([]byte("subject"))
	e := entry("signature")
	e.Subject = subject
	if err := d.Put("a", e, "x", "y"); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := d.Referrers("a", subject, "", func(Entry) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if count() != 1 {
		t.Fatal("the referrer is not listed")
	}
	if err := d.Delete("a", e.Digest); err != nil {
		t.Fatal(err)
	}
	if left, _, _ := d.Tags("a", "", 10); len(left) != 0 || count() != 0 {
		t.Errorf("left: tags %v, %d referrers", left, count())
	}
	if err := d.Delete("a", e.Digest); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestPagesOfTagsAreWholeAndInOrder(t *testing.T) {
	d, _ := start(t)
	var want []string
	var all sync.WaitGroup
	for i := range 100 {
		want = append(want, fmt.Sprint("v", i))
		all.Go(func() {
			if err := d.Put("a", entry("x"), fmt.Sprint("v", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(want)
	var got []string
	for more, last := true, ""; more; last = got[len(got)-1] {
		var list []string
		list, more, _ = d.Tags("a", last, 7)
		got = append(got, list...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if list, more, err := d.Tags("a", "", 0); len(list) != 0 || !more || err != nil {
		t.Errorf("n=0: got %v, %v, %v", list, more, err)
	}
}

func TestWhatWasPutIsThereAfterAnotherOpening(t *testing.T) {
	d, path := start(t)
	if err := d.Put("a/b", entry("one"), "v1"); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Tagged("a/b", "v1"); err != nil {
		t.Error(err)
	}
}

func TestAChangeMeanwhileStaysStale(t *testing.T) {
	d, _ := start(t)
	if err := errors.Join(d.Put("a", entry("one")), d.Put("b", entry("one"))); err != nil {
		t.Fatal(err)
	}
	written, err := d.Stale()
	if err != nil || len(written) != 2 {
		t.Fatalf("got %v and %v", written, err)
	}
	if err := errors.Join(d.Put("a", entry("two")), d.Written(written)); err != nil {
		t.Fatal(err)
	}
	if left, _ := d.Stale(); len(left) != 1 || left["a"] == 0 {
		t.Errorf("got %v, want a alone", left)
	}
}
