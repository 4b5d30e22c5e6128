package state_test

import (
	"fmt"
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
			d := &api.RecordedDecision{Session: "0123456789abcdef", Kind: "attestation", Input: fmt.Appendf(nil, "%q", make([]byte, 2<<10)), Data: []byte("{}")}
			b.SetParallelism(max(1, clients/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.KeepAttested(b.Context(), fmt.Sprint(time.Now().UnixNano()), record, later, 4096, d); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}
