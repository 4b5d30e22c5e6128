package supervise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A Timer starts another service at times. Spans are counted with the time in
// which the machine slept.
type Timer struct {
	Unit         string
	Active       []time.Duration // since the timer was started
	Boot         []time.Duration // since the machine was started
	UnitActive   []time.Duration // since the service became active last
	UnitInactive []time.Duration // since the service has ended last
	Calendar     []Calendar
	RandomDelay  time.Duration
	// FixedDelay takes the place of a random one when it is not nil.
	FixedDelay *time.Duration
	Persistent bool
	// Stamp is the file whose time says when a persistent timer was last due.
	Stamp string
}

// A Calendar tells the next time behind t, false when there is none.
type Calendar interface {
	Next(t time.Time) (time.Time, bool)
}

// tick runs a timer.
func (r *run) tick(ctx context.Context) outcome {
	t := r.u.Timer
	started := time.Now()
	c := clock{timer: t, started: started, booted: bootTime(), last: t.lastDue(started), first: true}
	for {
		for delay := t.delay(); !r.s.sleepUntil(ctx, &c, delay); {
			if ctx.Err() != nil {
				return outcome{}
			}
		}
		last := time.Now()
		c.last, c.first = last, false
		if err := errors.Join(t.stamp(last), r.s.trigger(t.Unit)); err != nil {
			r.s.Log.Error("timer", "service", r.u.Name, "error", err)
		}
	}
}

func (t *Timer) delay() time.Duration {
	switch {
	case t.FixedDelay != nil:
		return *t.FixedDelay
	case t.RandomDelay > 0:
		return rand.N(t.RandomDelay)
	}
	return 0
}

// A clock is what a timer counts from.
type clock struct {
	timer           *Timer
	started, booted time.Time
	last            time.Time // when it was due last
	first           bool      // it was not due yet since it was started
}

// due is the earliest time behind the last one at which a timer is due. What was
// to be some time after the boot, and is past when the timer is started, is due
// at once (systemd.timer(5), OnBootSec=).
func (c *clock) due(begun, ended time.Time) (due time.Time, ok bool) {
	offer := func(at time.Time) {
		if at.After(c.last) && (!ok || at.Before(due)) {
			due, ok = at, true
		}
	}
	for _, d := range c.timer.Boot {
		if at := c.booted.Add(d); c.first && !at.After(c.last) {
			return at, true
		}
		offer(c.booted.Add(d))
	}
	for _, list := range []struct {
		since time.Time
		spans []time.Duration
	}{{c.started, c.timer.Active}, {begun, c.timer.UnitActive}, {ended, c.timer.UnitInactive}} {
		for _, d := range list.spans {
			if !list.since.IsZero() {
				offer(list.since.Add(d))
			}
		}
	}
	for _, calendar := range c.timer.Calendar {
		if at, some := calendar.Next(c.last); some {
			offer(at)
		}
	}
	return due, ok
}

// sleepUntil waits for the time at which a timer is due. It is false when that
// has to be found anew: the service has started or ended meanwhile, or the clock
// may have been set.
func (s *Supervisor) sleepUntil(ctx context.Context, c *clock, delay time.Duration) bool {
	s.mu.Lock()
	u := s.units[c.timer.Unit]
	var begun, ended time.Time
	if u != nil {
		begun, ended = u.begun, u.ended
	}
	s.mu.Unlock()
	due, ok := c.due(begun, ended)
	due = due.Add(delay)
	pause := time.Minute
	if ok {
		pause = min(pause, time.Until(due))
	}
	wait, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	_ = s.await(wait, func() bool { return u != nil && (u.begun != begun || u.ended != ended) })
	return ok && ctx.Err() == nil && !time.Now().Before(due)
}

func (s *Supervisor) trigger(unit string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.units[unit] == nil {
		return fmt.Errorf("service %s: unknown", unit)
	}
	if !s.ending {
		s.start(unit)
	}
	return nil
}

// bootTime is when the machine started, by the clock of now.
func bootTime() time.Time {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // has no error on Linux
	return time.Now().Add(-time.Duration(t.Nano()))
}

// lastDue is when a timer was due before it was started; what was due since is
// made up for if the timer is persistent.
func (t *Timer) lastDue(now time.Time) time.Time {
	if !t.Persistent || t.Stamp == "" {
		return now
	}
	info, err := os.Stat(t.Stamp)
	if err != nil || info.ModTime().After(now) {
		_ = t.stamp(now) // next time it counts from here; without the file nothing is made up for
		return now
	}
	return info.ModTime()
}

func (t *Timer) stamp(at time.Time) error {
	if !t.Persistent || t.Stamp == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(t.Stamp), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(t.Stamp, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Chtimes(t.Stamp, at, at))
}
