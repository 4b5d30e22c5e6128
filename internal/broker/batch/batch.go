// Package batch lets many callers share one slow step, as an fsync is.
//
// Whoever comes while a step is under way waits with the others for the next,
// which does the work of all of them; whoever comes alone waits for nobody.
package batch

import "runtime"

// Most is how many callers a step serves.
const Most = 256

// expected is for how many steps a caller who came along lets others be
// expected.
const expected = 64

// A Group is the callers of one step. Make it by New.
type Group[T any] struct {
	do      func([]T) []error
	waiting chan call[T]
	turn    chan struct{}

	// For who has the turn: for how many steps more company is expected, and the
	// room of the last.
	company int
	calls   []call[T]
	all     []T
}

type call[T any] struct {
	what T
	done chan error
}

// New makes a group whose step is do, which answers each caller and keeps nothing
// of its argument. Only one is under way at a time.
func New[T any](do func([]T) []error) *Group[T] {
	return &Group[T]{do: do, waiting: make(chan call[T], Most), turn: make(chan struct{}, 1)}
}

// Do has the step done for what and returns its answer.
func (g *Group[T]) Do(what T) error {
	mine := call[T]{what, make(chan error, 1)}
	g.waiting <- mine // blocks while more than Most wait, until a step takes them
	select {
	case err := <-mine.done:
		return err
	case g.turn <- struct{}{}:
	}
	g.step()
	<-g.turn
	return <-mine.done
}

// step serves all who wait. Since callers queue before they take turns, the
// one whose turn it is has been served by now or is among them.
func (g *Group[T]) step() {
	if g.company > 0 || len(g.waiting) > 1 {
		runtime.Gosched() // who is about to come shall come along; where nobody is, this only wakes an idle processor
	}
	calls, all := g.calls[:0], g.all[:0]
	for len(calls) < Most {
		select {
		case c := <-g.waiting:
			calls, all = append(calls, c), append(all, c.what)
			continue
		default:
		}
		break
	}
	g.calls, g.all = calls, all
	if len(calls) == 0 {
		return
	}
	if g.company = max(g.company-1, 0); len(calls) > 1 {
		g.company = expected
	}
	defer clear(calls) // they are done
	defer clear(all)
	for i, err := range g.do(all) {
		calls[i].done <- err
	}
}
