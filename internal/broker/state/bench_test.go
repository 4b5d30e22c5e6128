package state_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/api"
)

func BenchmarkGenerations(b *testing.B) {
	s := open(b, b.TempDir())
	for _, kind := range api.VersionedKinds() {
		_, err := s.SetDocument(b.Context(), api.Version{Kind: kind, Name: "x", Content: []byte("{}")})
		check(b, err)
	}
	for b.Loop() {
		if _, err := s.Generations(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResource(b *testing.B) {
	s := open(b, b.TempDir())
	for i := range 1000 {
		check(b, s.SetResource(b.Context(), fmt.Sprintf("a/b/%d", i), make([]byte, 32), true))
	}
	for i := 0; b.Loop(); i++ {
		if _, err := s.Resource(b.Context(), fmt.Sprintf("a/b/%d", i%1000)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKeepAttested is what a handshake writes: what it proved, and the
// decision.
func BenchmarkKeepAttested(b *testing.B) {
	for _, clients := range []int{1, 16, 200} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			s := open(b, b.TempDir())
			record, later := make([]byte, 20<<10), time.Now().Add(time.Hour)
			d := &api.RecordedDecision{Session: "0123456789abcdef", Kind: "attestation", Input: fmt.Appendf(nil, "%q", bytes.Repeat([]byte("x"), 2<<10)), Data: []byte("{}")}
			share(b, clients, func(next func() bool) {
				for next() {
					if err := s.KeepAttested(b.Context(), fmt.Sprint(time.Now().UnixNano()), record, later, 4096, d); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}

// share has the work done by so many at once.
func share(b *testing.B, workers int, work func(next func() bool)) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for range workers {
		all.Go(func() { work(func() bool { return left.Add(-1) >= 0 }) })
	}
	all.Wait()
}
