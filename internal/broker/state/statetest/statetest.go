// Package statetest says what any state of a broker must do, whatever it is
// kept in.
package statetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/broker"
)

// Run proves a state. Open opens the one that stands for name, now and again,
// as several processes would: what one of them changed, all see.
func Run(t *testing.T, open func(t *testing.T, name string) broker.State) {
	for name, test := range map[string]func(*testing.T, broker.State, broker.State){
		"ResourcesAreKept":              resources,
		"FreshResourcesReplaceNothing":  fresh,
		"ConcurrentWritersLoseNothing":  concurrent,
		"DocumentsAreVersioned":         documents,
		"RemovedDocumentsStayInHistory": removed,
		"RollbackIsANewVersion":         rollback,
		"KindsCountApart":               generations,
		"RecordsAreBounded":             attested,
		"ProofsAreBounded":              proofs,
		"DecisionsComeWithTheirRecord":  decisions,
		"TheAuditHeadIsShared":          head,
		"WhatIsGoodOnceIsTakenOnce":     once,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t, name), open(t, name)) })
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func resources(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	values := map[string][]byte{"a/b/c": []byte("1"), "a/b/d": bytes.Repeat([]byte{0, 255}, 1<<20), "a/b.c/-": {0}}
	for name, value := range values {
		check(t, one.SetResource(ctx, name, value, false))
	}
	for name, value := range values {
		if got, err := two.Resource(ctx, name); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(value))
		}
	}
	if names, err := two.Resources(ctx); err != nil || !slices.Equal(names, []string{"a/b.c/-", "a/b/c", "a/b/d"}) {
		t.Errorf("got %q, %v", names, err)
	}
	check(t, two.SetResource(ctx, "a/b/c", []byte("2"), false))
	if got, err := one.Resource(ctx, "a/b/c"); err != nil || string(got) != "2" {
		t.Errorf("got %q, %v, want what replaced it", got, err)
	}
	check(t, one.DeleteResource(ctx, "a/b/c"))
	_, err := two.Resource(ctx, "a/b/c")
	for _, err := range []error{err, two.DeleteResource(ctx, "a/b/c")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	}
}

func fresh(t *testing.T, one, two broker.State) {
	check(t, one.SetResource(t.Context(), "a/b/c", []byte("first"), true))
	if err := two.SetResource(t.Context(), "a/b/c", []byte("second"), true); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if got, err := two.Resource(t.Context(), "a/b/c"); err != nil || string(got) != "first" {
		t.Errorf("got %q, %v", got, err)
	}
}

func concurrent(t *testing.T, one, two broker.State) {
	var all sync.WaitGroup
	for i := range 40 {
		s := []broker.State{one, two}[i%2]
		all.Go(func() {
			name := fmt.Sprintf("a/b/%02d", i)
			if err := s.SetResource(t.Context(), name, []byte(name), true); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := s.SetDocument(t.Context(), api.Version{Kind: api.ConfigurationKind, Name: name, Content: []byte(name)}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	names, err := one.Resources(t.Context())
	if err != nil || len(names) != 40 {
		t.Errorf("got %d resources, %v, want 40", len(names), err)
	}
	documents, generation, err := two.Documents(t.Context(), api.ConfigurationKind)
	if err != nil || len(documents) != 40 || generation != 40 {
		t.Errorf("got %d documents of generation %d, %v, want 40", len(documents), generation, err)
	}
}

var at = time.Date(2026, 11, 21, 9, 0, 0, 123, time.UTC)

func documents(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	for i, content := range []string{"first", "second"} {
		v := api.Version{Kind: api.PolicyKind, Name: "resource", Time: at, Actor: "anna", Comment: "because", Content: []byte(content)}
		if n, err := one.SetDocument(ctx, v); err != nil || n != int64(i+1) {
			t.Fatalf("got version %d, %v, want %d", n, err, i+1)
		}
	}
	inForce, generation, err := two.Documents(ctx, api.PolicyKind)
	if err != nil || generation != 2 || len(inForce) != 1 || string(inForce[0].Content) != "second" {
		t.Fatalf("got %+v of generation %d, %v", inForce, generation, err)
	}
	first, err := two.Version(ctx, api.PolicyKind, 1)
	check(t, err)
	// sha256sum of "first"
	const digest = "sha256:a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"
	if string(first.Content) != "first" || first.Actor != "anna" || first.Comment != "because" || !first.Time.Equal(at) || first.Digest != digest || first.Number != 1 {
		t.Errorf("got %+v", first)
	}
	history, err := one.History(ctx, api.PolicyKind)
	if err != nil || len(history) != 2 || history[0].Number != 2 || history[1].Digest != digest || history[1].Content != nil {
		t.Errorf("got %+v, %v, want the latest first, without content", history, err)
	}
	if _, err := one.Version(ctx, api.PolicyKind, 3); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func removed(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	gone := api.Version{Kind: api.ReferenceKind, Name: "sha256:00"}
	if _, err := one.SetDocument(ctx, gone); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	kept := gone
	kept.Content = []byte("{}")
	_, err := one.SetDocument(ctx, kept)
	check(t, err)
	if n, err := two.SetDocument(ctx, gone); err != nil || n != 2 {
		t.Fatalf("got version %d, %v, want 2: a change that failed is none", n, err)
	}
	if _, err := one.SetDocument(ctx, kept, api.Version{Kind: api.ReferenceKind, Name: "sha256:01"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one of two cannot be made: got %v, want fs.ErrNotExist", err)
	}
	if list, generation, err := one.Documents(ctx, api.ReferenceKind); err != nil || len(list) != 0 || generation != 2 {
		t.Errorf("got %+v of generation %d, %v", list, generation, err)
	}
	if v, err := one.Version(ctx, api.ReferenceKind, 2); err != nil || !v.Removed() {
		t.Errorf("got %+v, %v, want a removal", v, err)
	}
}

func rollback(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	set := func(name, content string) {
		v := api.Version{Kind: api.PolicyKind, Name: name, Actor: "anna"}
		if content != "" {
			v.Content = []byte(content)
		}
		_, err := one.SetDocument(ctx, v)
		check(t, err)
	}
	set("a", "a1") // 1
	set("b", "b1") // 2
	set("a", "a2") // 3
	set("b", "")   // 4
	set("c", "c1") // 5
	inForce := func() (names string) {
		all, _, err := two.Documents(ctx, api.PolicyKind)
		check(t, err)
		for _, v := range all {
			names += v.Name + "=" + string(v.Content) + " "
		}
		return names
	}
	by := api.Version{Time: at, Actor: "bert", Comment: "it was better before"}
	refused, all := errors.New("not this one"), func(api.Version) error { return nil }
	_, err := two.Rollback(ctx, api.PolicyKind, "", 2, by, func(v api.Version) error {
		if v.Name != "b" {
			return nil
		}
		return refused
	})
	if !errors.Is(err, refused) || inForce() != "a=a2 c=c1 " {
		t.Errorf("got %v, %s, want nothing changed", err, inForce())
	}
	made, err := two.Rollback(ctx, api.PolicyKind, "a", 2, by, all)
	if err != nil || len(made) != 1 || inForce() != "a=a1 c=c1 " {
		t.Fatalf("got %v, %v, %s", made, err, inForce())
	}
	made, err = two.Rollback(ctx, api.PolicyKind, "", 3, by, all)
	if err != nil || len(made) != 3 || inForce() != "a=a2 b=b1 " {
		t.Fatalf("got %v, %v, %s", made, err, inForce())
	}
	if v, err := one.Version(ctx, api.PolicyKind, made[0]); err != nil || v.Actor != "bert" || v.Comment != by.Comment || v.Name != "a" {
		t.Errorf("got %+v, %v", v, err)
	}
	if made, err = two.Rollback(ctx, api.PolicyKind, "", 9, by, all); err != nil || len(made) != 0 {
		t.Errorf("got %v, %v, want nothing to do", made, err)
	}
	for _, n := range []int64{0, -1, 10} {
		if _, err := two.Rollback(ctx, api.PolicyKind, "", n, by, all); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: got %v, want fs.ErrNotExist", n, err)
		}
	}
}

func generations(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	for i, kind := range api.VersionedKinds() {
		for range i + 1 {
			_, err := one.SetDocument(ctx, api.Version{Kind: kind, Name: "x", Content: []byte("{}")})
			check(t, err)
		}
	}
	all, err := two.Generations(ctx)
	check(t, err)
	for i, kind := range api.VersionedKinds() {
		if all[kind] != int64(i+1) {
			t.Errorf("%s: got generation %d, want %d", kind, all[kind], i+1)
		}
	}
}

func attested(t *testing.T, one, two broker.State) {
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	for i := range 5 {
		check(t, one.KeepAttested(ctx, fmt.Sprint(i), []byte{byte(i)}, later, 3, nil))
	}
	keptOf := func() (kept []string) {
		for i := range 5 {
			record, err := two.Attested(ctx, fmt.Sprint(i))
			if err == nil && bytes.Equal(record, []byte{byte(i)}) {
				kept = append(kept, fmt.Sprint(i))
			} else if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d: got %x, %v", i, record, err)
			}
			if is, also := two.IsAttested(ctx, fmt.Sprint(i)); also != nil || is != (err == nil) {
				kept = append(kept, fmt.Sprintf("%d: kept: %t, %v, and reading it says %v", i, is, also, err)) // or it is written just now
			}
		}
		return kept
	}
	kept := keptOf()
	for end := patience(); !slices.Equal(kept, []string{"2", "3", "4"}); kept = keptOf() { // another process may be slow
		if end() {
			t.Fatalf("got %q, want the latest three", kept)
		}
	}
	check(t, one.KeepAttested(ctx, "3", []byte{3}, time.Now().Add(-time.Hour), 3, nil))
	check(t, one.KeepAttested(ctx, "4", []byte{4}, later, 3, nil))
	isLeft := func(k string) bool { return k == "3" || len(k) > 1 }
	for end := patience(); !slices.Contains(kept, "4") || slices.ContainsFunc(kept, isLeft); kept = keptOf() {
		if end() {
			t.Fatalf("got %q, want the latest but for the one whose time is over", kept)
		}
	}
}

// patience says when what one process wrote should be seen by another.
func patience() (isOver func() bool) {
	until := time.Now().Add(20 * time.Second)
	return func() bool { return time.Now().After(until) }
}

func proofs(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	for _, id := range []string{"d", "c", "b", "a"} {
		check(t, one.KeepProof(ctx, id, []byte(id), 3, nil))
	}
	if err := two.KeepProof(ctx, "a", []byte("other"), 3, nil); err == nil {
		t.Error("a proof was replaced")
	}
	if ids, err := two.Proofs(ctx); err != nil || !slices.Equal(ids, []string{"c", "b", "a"}) {
		t.Errorf("got %q, %v, want the latest three, the oldest first", ids, err)
	}
	if proof, err := two.Proof(ctx, "a"); err != nil || string(proof) != "a" {
		t.Errorf("got %q, %v", proof, err)
	}
	check(t, two.DropProof(context.WithoutCancel(ctx), "b"))
	_, err := one.Proof(ctx, "b")
	for _, err := range []error{err, one.DropProof(ctx, "b")} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	}
}

func head(t *testing.T, one, two broker.State) {
	if h, err := one.AuditHead(t.Context()); err != nil || h != (api.AuditHead{}) {
		t.Errorf("got %+v, %v, want none", h, err)
	}
	want := api.AuditHead{Seq: 7, Hash: "sha256:00"}
	check(t, one.SetAuditHead(t.Context(), want))
	if h, err := two.AuditHead(t.Context()); err != nil || h != want {
		t.Errorf("got %+v, %v, want %+v", h, err, want)
	}
}

func decisions(t *testing.T, one, two broker.State) {
	ctx := t.Context()
	decision := func(session, kind string) *api.RecordedDecision {
		return &api.RecordedDecision{Time: at, Session: session, Action: "attest", Kind: kind, Policy: 3, Input: []byte("{}"), Data: []byte("[]"), Reasons: []string{"why"}}
	}
	check(t, one.KeepAttested(ctx, "s1", []byte("{}"), time.Now().Add(time.Hour), 3, decision("s1", "attestation")))
	check(t, one.KeepProof(ctx, "p1", []byte("{}"), 3, decision("s1", "resource")))
	check(t, one.KeepDecision(ctx, decision("s2", "attestation")))
	check(t, one.KeepDecision(ctx, nil))
	if err := one.KeepProof(ctx, "p1", []byte("{}"), 3, decision("s1", "resource")); err == nil {
		t.Error("a proof was kept twice")
	}
	all, err := two.Decisions(ctx, 0, 10)
	for end := patience(); err == nil && len(all) < 3 && !end(); time.Sleep(time.Millisecond) {
		all, err = two.Decisions(ctx, 0, 10)
	}
	if err != nil || len(all) != 3 || all[0].Session != "s1" || all[0].Policy != 3 || !all[0].Time.Equal(at) || all[2].Session != "s2" {
		t.Fatalf("got %+v, %v, want three: none of the proof that was not kept", all, err)
	}
	if some, err := two.Decisions(ctx, all[0].ID, 1); err != nil || len(some) != 1 || some[0].ID != all[1].ID {
		t.Errorf("got %+v, %v, want the one behind", some, err)
	}
}

func once(t *testing.T, one, two broker.State) {
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	check(t, one.Once(ctx, "a", later))
	check(t, two.Once(ctx, "b", time.Now().Add(-time.Hour))) // by a clock that was set
	for _, id := range []string{"a", "b"} {
		for _, s := range []broker.State{one, two} {
			if err := s.Once(ctx, id, later); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s again: got %v, want fs.ErrExist", id, err)
			}
		}
	}
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if err := []broker.State{one, two}[i%2].Once(ctx, "c", later); err == nil {
				won.Add(1)
			} else if errors.Is(err, fs.ErrExist) {
				lost.Add(1)
			}
		})
	}
	if all.Wait(); won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d took it and %d found it taken, want 1 and 7", won.Load(), lost.Load())
	}
}
