package state

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/seal/sealtest"
)

func openBundles(t *testing.T, dir string, now *time.Time) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: dir, Sealer: sealtest.New(), Now: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wantNumber(t *testing.T, s *Store, query string, want int) {
	t.Helper()
	var n int
	if err := s.read.QueryRow(query).Scan(&n); err != nil || n != want {
		t.Errorf("%s: got %d, %v, want %d", query, n, err, want)
	}
}

// What many handshakes left in few rows is found one by one: before it is
// written, afterwards, and by another process; and it goes when its time is over.
func TestEachRecordOfABundleIsFound(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	one, two := openBundles(t, dir, &now), openBundles(t, dir, &now)
	one.behind.delay = time.Hour // it is written when the test says so
	ctx, n := context.Background(), 50
	record := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100+i) }
	find := func(s *Store, when string) {
		t.Helper()
		for i := range n {
			if got, err := s.Attested(ctx, fmt.Sprint(i)); err != nil || !bytes.Equal(got, record(i)) {
				t.Errorf("%s: %d: got %x, %v", when, i, got, err)
			}
		}
	}
	for i := range n {
		d := &api.RecordedDecision{Session: fmt.Sprint(i % 7), Action: fmt.Sprint(i), Input: []byte("{}"), Data: []byte("{}")}
		if err := one.KeepAttested(ctx, fmt.Sprint(i), record(i), now.Add(time.Minute), 16384, d); err != nil {
			t.Fatal(err)
		}
	}
	find(one, "before it is written")
	if err := one.flush(); err != nil {
		t.Fatal(err)
	}
	find(one, "afterwards")
	find(two, "in another process")
	wantNumber(t, one, "SELECT count(*) FROM attested", (n+7)/8)
	wantNumber(t, one, "SELECT count(*) FROM decisions", 1)
	report, err := two.Check(ctx)
	if err != nil || report.Decisions != n {
		t.Errorf("got %+v, %v, want %d decisions", report, err, n)
	}
	seen := 0
	for after := int64(0); ; {
		page, err := two.Decisions(ctx, after, 20)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			if d.Action != fmt.Sprint(seen) || d.ID != int64(seen+1) {
				t.Errorf("decision %d has number %d, want the one of %d", seen+1, d.ID, seen)
			}
			seen, after = seen+1, d.ID
		}
	}
	if seen != n {
		t.Errorf("pages have %d decisions, want %d", seen, n)
	}
	of := 0
	if err := two.DecisionsOf(ctx, []string{"3"}, func(d api.RecordedDecision) {
		if of++; d.Session != "3" {
			t.Errorf("got one of session %q", d.Session)
		}
	}); err != nil || of != 7 {
		t.Errorf("got %d decisions, %v, want those of one session, 7", of, err)
	}
	now = now.Add(2 * time.Minute)
	if err := one.KeepAttested(ctx, "late", []byte("x"), now.Add(time.Minute), 16384, nil); err != nil {
		t.Fatal(err)
	}
	if err := one.flush(); err != nil {
		t.Fatal(err)
	}
	wantNumber(t, one, "SELECT count(*) FROM attested", 1)
	wantNumber(t, one, "SELECT count(*) FROM attested_in", 1)
	if got, err := two.Attested(ctx, "late"); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

// What handshakes left is written in others' company, too: beside rows, beside a
// change, and beside one that is refused.
func TestALoadIsKeptInCompany(t *testing.T) {
	now := time.Now()
	s, ctx := openBundles(t, t.TempDir(), &now), context.Background()
	refused := errors.New("not this one")
	for i, other := range []step{
		{rows: []row{{proofsTable, []any{"a", []byte("proof")}, 10}}},
		{change: func(ctx context.Context, tx *sql.Tx) error { return nil }},
		{change: func(ctx context.Context, tx *sql.Tx) error { return refused }},
		{lazy: true, rows: []row{{table: notesTable, values: []any{"n", "v"}}}},
	} {
		for n := range together + 1 { // a full bundle and another
			d := &api.RecordedDecision{Session: fmt.Sprint(i, n), Input: []byte("{}"), Data: []byte("{}")}
			if err := s.KeepAttested(ctx, fmt.Sprint(i, n), []byte("record"), now.Add(time.Hour), 16384, d); err != nil {
				t.Fatal(err)
			}
		}
		l := s.behind.take()
		answers := s.commit([]step{{load: &l, lazy: true}, other})
		s.behind.done(l, answers[0], s.writeLate)
		if answers[0] != nil || answers[1] != nil && answers[1] != refused {
			t.Fatalf("%d: got %v", i, answers)
		}
		for n := range together + 1 {
			if got, err := s.Attested(ctx, fmt.Sprint(i, n)); err != nil || string(got) != "record" {
				t.Errorf("%d, %d: got %q, %v", i, n, got, err)
			}
		}
	}
	all, err := s.Decisions(ctx, 0, 100)
	if err != nil || len(all) != 4*(together+1) {
		t.Errorf("got %d decisions, %v", len(all), err)
	}
}

// A row whose bundle goes leaves alone what was said of the same session since.
func TestWhatIsKeptAnewOutlivesWhatWasKeptBefore(t *testing.T) {
	now := time.Now()
	s, ctx := openBundles(t, t.TempDir(), &now), context.Background()
	for _, life := range []time.Duration{time.Minute, time.Hour} {
		if err := errors.Join(s.KeepAttested(ctx, "a", []byte(life.String()), now.Add(life), 16384, nil), s.flush()); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(2 * time.Minute)
	if err := errors.Join(s.KeepAttested(ctx, "b", nil, now.Add(time.Hour), 16384, nil), s.flush()); err != nil {
		t.Fatal(err)
	}
	wantNumber(t, s, "SELECT count(*) FROM attested", 2)
	if got, err := s.Attested(ctx, "a"); err != nil || string(got) != time.Hour.String() {
		t.Errorf("got %q, %v, want what was kept last", got, err)
	}
}

// What somebody wrote on the disk is an error, and what was bundled comes back.
//
//fuzz:parser bundle.go squeeze.go
func FuzzBundle(f *testing.F) {
	b := &bundle{}
	b.add("a", []byte("record"))
	b.add("", nil)
	row := new(squeezer).bundle(b)
	f.Add(row)
	f.Add(row[:len(row)-1])
	f.Add([]byte{bundled, 1, 0, 5})
	f.Fuzz(func(t *testing.T, row []byte) {
		again := &bundle{}
		err := eachBundled(row, func(name string, record []byte) bool {
			again.add(name, record)
			return true
		})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			return
		}
		n := 0
		err = eachBundled(new(squeezer).bundle(again), func(name string, _ []byte) bool {
			if name != again.names[n] {
				t.Errorf("got %q, want %q", name, again.names[n])
			}
			n++
			return true
		})
		if err != nil || n != len(again.names) {
			t.Errorf("got %d, %v, want %d", n, err, len(again.names))
		}
	})
}

// What could not be written is written when it can be.
func TestALoadThatFailedIsWrittenWithTheNext(t *testing.T) {
	now := time.Now()
	s := openBundles(t, t.TempDir(), &now)
	l := load{records: 1, most: 16, attested: []*bundle{{names: []string{"first"}, until: now.Add(time.Hour).UnixNano()}}}
	s.behind.done(l, errors.New("the disk is full"), s.writeLate)
	if err := s.KeepAttested(t.Context(), "second", []byte("record"), now.Add(time.Hour), 16, &api.RecordedDecision{Input: []byte("{}"), Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	wantNumber(t, s, "SELECT count(*) FROM attested_in", 2)
}

// Nor does it wait for another machine to come.
func TestALoadThatFailedIsWrittenByItself(t *testing.T) {
	now := time.Now()
	s := openBundles(t, t.TempDir(), &now)
	one := &bundle{until: now.Add(time.Hour).UnixNano()}
	one.add("first", []byte("record"))
	s.behind.done(load{records: 1, most: 16, attested: []*bundle{one}}, errors.New("the disk is full"), s.writeLate)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got, err := s.Attested(t.Context(), "first"); err == nil && string(got) == "record" {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it is not written")
		}
	}
}

// A load of decisions alone does not say how many attested records are kept.
func TestAFailedLoadOfDecisionsLeavesAttestedRecords(t *testing.T) {
	now := time.Now()
	s := openBundles(t, t.TempDir(), &now)
	s.behind.delay = time.Hour // the record waits for the next load
	if err := s.KeepAttested(t.Context(), "first", []byte("record"), now.Add(time.Hour), 16, nil); err != nil {
		t.Fatal(err)
	}
	decisions := &bundle{}
	decisions.add("first", []byte("{}"))
	s.behind.done(load{records: 1, decisions: []*bundle{decisions}}, errors.New("the disk is full"), s.writeLate)
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Attested(t.Context(), "first"); err != nil || string(got) != "record" {
		t.Errorf("got %q, %v, want the record", got, err)
	}
}
