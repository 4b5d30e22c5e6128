package supervise

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// every is a calendar of fixed steps.
type every time.Duration

func (e every) Next(t time.Time) (time.Time, bool) { return t.Add(time.Duration(e)), true }

func TestATimerStartsItsServiceAgainAndAgain(t *testing.T) {
	for name, timer := range map[string]Timer{
		"calendar": {Calendar: []Calendar{every(50 * time.Millisecond)}},
		"spans":    {Active: []time.Duration{time.Millisecond}, UnitInactive: []time.Duration{20 * time.Millisecond}},
		"boot":     {Boot: []time.Duration{time.Second}, UnitActive: []time.Duration{50 * time.Millisecond}}, // past already
	} {
		t.Run(name, func(t *testing.T) {
			timer.Unit = "a"
			b := supervise(t, "t", Service{Name: "t", Kind: Timed, Timer: &timer}, Service{Name: "a", Kind: Oneshot, Start: sh("echo ran")})
			for late := time.Now().Add(time.Minute); len(b.wrote()) < 3 && time.Now().Before(late); {
				time.Sleep(10 * time.Millisecond)
			}
			if got := b.wrote(); len(got) < 3 {
				t.Errorf("got %q, want three runs; %+v", got, b.Statuses())
			}
		})
	}
}

func TestAPersistentTimerMakesUpForWhatWasMissed(t *testing.T) {
	now := time.Now()
	hourly := []Calendar{every(time.Hour)}
	for name, c := range map[string]struct {
		stamp time.Time
		due   bool
	}{"missed": {now.Add(-2 * time.Hour), true}, "not yet": {now.Add(-time.Minute), false}, "first": {time.Time{}, false}, "future": {now.Add(time.Hour), false}} {
		stamp := filepath.Join(t.TempDir(), "stamp")
		if !c.stamp.IsZero() {
			if err := os.WriteFile(stamp, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(stamp, c.stamp, c.stamp); err != nil {
				t.Fatal(err)
			}
		}
		timer := &Timer{Calendar: hourly, Persistent: true, Stamp: stamp}
		k := clock{timer: timer, started: now, booted: now, last: timer.lastDue(now), first: true}
		due, ok := k.due(time.Time{}, time.Time{})
		if !ok || due.After(now) == c.due {
			t.Errorf("%s: due at %v, %v, want it due %v", name, due, ok, c.due)
		}
	}
}
