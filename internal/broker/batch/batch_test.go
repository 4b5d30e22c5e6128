package batch

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCallersShareSteps(t *testing.T) {
	var steps, served atomic.Int64
	odd := errors.New("odd")
	began, gate := make(chan bool, 1), make(chan bool)
	g := New(func(all []int) []error {
		if steps.Add(1) == 1 {
			began <- true
			<-gate // the first waits until all others are there
		}
		answers := make([]error, len(all))
		for i, n := range all {
			served.Add(1)
			if n%2 == 1 {
				answers[i] = odd
			}
		}
		return answers
	})
	const callers = 3 * Most
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			if err := g.Do(n); (n%2 == 1) != errors.Is(err, odd) {
				t.Errorf("%d: got %v", n, err)
			}
		})
	}
	<-began
	for len(g.waiting) < Most { // the channel is full, or will be
	}
	close(gate)
	all.Wait()
	if served.Load() != callers {
		t.Errorf("served %d of %d", served.Load(), callers)
	}
	if n := steps.Load(); n > callers/10 {
		t.Errorf("%d callers took %d steps", callers, n)
	}
}
