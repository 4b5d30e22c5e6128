package attack

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/progress"
)

// A Verdict is what came of an attack.
type Verdict string

// The verdicts; all but Held are defects.
const (
	Held   Verdict = "held"         // the right part refused for the right reason
	Broken Verdict = "broken"       // nobody refused
	Wrong  Verdict = "wrong-reason" // it was refused, but not for what was changed
	Failed Verdict = "failed"       // the lab failed: nothing is known
	NotRun Verdict = "not-run"      // interrupted
)

// A Result is an attack that was run.
type Result struct {
	Attack
	Control      string  `json:"control"` // what succeeded without the change
	Verdict      Verdict `json:"verdict"`
	Got          Refusal `json:"got"`
	Error        string  `json:"error,omitempty"` // of the lab
	Milliseconds int64   `json:"milliseconds"`
}

// How long an attack may take, its control included.
const (
	patience       = 2 * time.Minute
	bootedPatience = 10 * time.Minute
)

// Run makes the attacks, one after the other; of those that boot machines,
// jobs at a time. It returns an error only when ctx ends.
func (l *Lab) Run(ctx context.Context, attacks []Attack, jobs int) (*Report, error) {
	began := time.Now()
	step := progress.Or(l.Builder.Progress).Start("attack", int64(len(attacks)), progress.Items)
	r := &Report{Time: began.UTC().Truncate(time.Second), Results: make([]Result, len(attacks)), Count: map[Verdict]int{}}
	for _, boots := range []bool{false, true} {
		group := errgroup.Group{}
		group.SetLimit(1)
		if boots {
			group.SetLimit(max(1, jobs))
		}
		for i, a := range attacks {
			if a.Boots == boots {
				group.Go(func() error { r.Results[i] = l.attack(ctx, a, step); return nil })
			}
		}
		_ = group.Wait()
	}
	for _, result := range r.Results {
		r.Count[result.Verdict]++
	}
	r.Milliseconds = time.Since(began).Milliseconds()
	if ctx.Err() != nil {
		step.Fail()
		return r, ctx.Err()
	}
	step.Done(r.Sum())
	return r, nil
}

// attack makes one, and tells who watches.
func (l *Lab) attack(ctx context.Context, a Attack, step progress.Step) Result {
	if ctx.Err() != nil {
		return Result{Attack: a, Control: a.Control.Name, Verdict: NotRun}
	}
	r := l.result(ctx, a, step)
	if ctx.Err() != nil { // what broke off says nothing
		r.Verdict = NotRun
	}
	step.Add(1)
	if l.Watch != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.Watch(r)
	}
	return r
}

func (l *Lab) result(ctx context.Context, a Attack, step progress.Step) (r Result) {
	r = Result{Attack: a, Control: a.Control.Name}
	limit := patience
	if a.Boots {
		limit = bootedPatience
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	step.Note(a.Name + ", first without a change: " + a.Control.Name)
	if err := l.control(ctx, a.Control); err != nil {
		r.Verdict, r.Error = Failed, fmt.Sprintf("without any change: %s: %v", a.Control.Name, err)
		return r
	}
	step.Note(a.Name + ": " + a.Change)
	began := time.Now()
	got, err := a.Run(ctx, l)
	r.Milliseconds, r.Got, r.Verdict = time.Since(began).Milliseconds(), got, judge(a.Want, got, err)
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func judge(want, got Refusal, err error) Verdict {
	switch {
	case err != nil:
		return Failed
	case got.By == Nobody:
		return Broken
	case got.By != want.By || !strings.Contains(got.Reason, want.Reason):
		return Wrong
	}
	return Held
}

// Says tells in a line what came of the attack.
func (r *Result) Says() string {
	switch r.Verdict {
	case Held:
		return fmt.Sprintf("refused by %s: %s", r.Got.By, r.Got.Reason)
	case Broken:
		return "nobody refused: " + r.Got.Reason
	case Wrong:
		return fmt.Sprintf("refused by %s: %s; expected %s to say %q", r.Got.By, r.Got.Reason, r.Want.By, r.Want.Reason)
	case Failed:
		return "the lab failed: " + strings.ReplaceAll(r.Error, "\n", "; ")
	}
	return "not run"
}

// control runs c unless the lab did, and returns how it ended.
func (l *Lab) control(ctx context.Context, c Control) error {
	_, err := Shared(l, "control: "+c.Name, func() (struct{}, error) { return struct{}{}, c.Run(ctx, l) })
	return err
}
