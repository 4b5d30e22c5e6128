// Package blobtest proves that a blob.Store keeps its promises.
//
// Every implementation runs the same suite, so they can stand in for each
// other.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"holdfast/internal/blob"
	"holdfast/internal/oci"
)

// Run runs the suite; open gives an empty store.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, claim := range map[string]func(*testing.T, blob.Store){
		"WhatWasPutIsRead":         whatWasPutIsRead,
		"AnAbsentBlobIsNotFound":   anAbsentBlobIsNotFound,
		"OtherBytesAreRefused":     otherBytesAreRefused,
		"AFailedReaderLeavesNone":  aFailedReaderLeavesNone,
		"ACancelledPutLeavesNone":  aCancelledPutLeavesNone,
		"AnOddDigestIsRefused":     anOddDigestIsRefused,
		"ManyMayPutTheSameAtOnce":  manyMayPutTheSameAtOnce,
		"APutBlobMayBePutOnceMore": aPutBlobMayBePutOnceMore,
	} {
		t.Run(name, func(t *testing.T) { claim(t, open(t)) })
	}
}

var ctx = context.Background()

func whatWasPutIsRead(t *testing.T, s blob.Store) {
	for _, want := range []string{"", "one", strings.Repeat("long", 100_000)} {
		d := oci.SHA256([]byte(want))
		if err := s.Put(ctx, d, strings.NewReader(want)); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != want || r.Close() != nil {
			t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(want))
		}
	}
}

func anAbsentBlobIsNotFound(t *testing.T, s blob.Store) {
	wantAbsent(t, s, oci.SHA256([]byte("absent")))
}

func otherBytesAreRefused(t *testing.T, s blob.Store) {
	d := oci.SHA256([]byte("right"))
	err := s.Put(ctx, d, strings.NewReader("wrong"))
	var mismatch *blob.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Got != oci.SHA256([]byte("wrong")) {
		t.Fatalf("got %v, want a MismatchError", err)
	}
	wantAbsent(t, s, d)
}

func aFailedReaderLeavesNone(t *testing.T, s blob.Store) {
	broken := errors.New("broken")
	d := oci.SHA256([]byte("half"))
	err := s.Put(ctx, d, io.MultiReader(strings.NewReader("ha"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want %v", err, broken)
	}
	wantAbsent(t, s, d)
}

func aCancelledPutLeavesNone(t *testing.T, s blob.Store) {
	stop, cancel := context.WithCancel(ctx)
	cancel()
	d := oci.SHA256([]byte("late"))
	if err := s.Put(stop, d, strings.NewReader("late")); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want cancelled", err)
	}
	wantAbsent(t, s, d)
}

func anOddDigestIsRefused(t *testing.T, s blob.Store) {
	for _, d := range []oci.Digest{"", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		if err := s.Put(ctx, d, strings.NewReader("")); err == nil {
			t.Errorf("Put %q: got no error", d)
		}
		if _, err := s.Open(ctx, d); err == nil || errors.Is(err, blob.ErrNotFound) {
			t.Errorf("Open %q: got %v, want a refusal", d, err)
		}
	}
}

func manyMayPutTheSameAtOnce(t *testing.T, s blob.Store) {
	data := bytes.Repeat([]byte("same"), 50_000)
	d := oci.SHA256(data)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Put(ctx, d, bytes.NewReader(data)); err != nil {
				t.Error(err)
			}
			if err := blob.Verify(ctx, s, d); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func aPutBlobMayBePutOnceMore(t *testing.T, s blob.Store) {
	d := oci.SHA256([]byte("again"))
	for range 2 {
		if err := s.Put(ctx, d, strings.NewReader("again")); err != nil {
			t.Fatal(err)
		}
	}
}

func wantAbsent(t *testing.T, s blob.Store, d oci.Digest) {
	t.Helper()
	if has, err := s.Has(ctx, d); has || err != nil {
		t.Errorf("Has: got %v and %v, want false", has, err)
	}
	if _, err := s.Open(ctx, d); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Open: got %v, want ErrNotFound", err)
	}
}
