package supervise

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// An outcome is how one start of a service ended; the zero value is success.
type outcome struct {
	result, reason string
	exit           *Exit
	never          bool // it was not even tried: no restart
}

func (o outcome) ok() bool { return o.result == "" }

// life is from the wish that a service be started until it is down for good.
func (s *Supervisor) life(ctx context.Context, u *unit) {
	o := s.clearance(ctx, u)
	for o.ok() && ctx.Err() == nil {
		if o = s.limited(u); !o.ok() {
			break
		}
		o = s.turn(ctx, u)
		if ctx.Err() != nil || !u.restartsAfter(o) {
			break
		}
		s.change(u, Restarting, func(t *Status) { t.Restarts++; t.told(o) })
		s.Log.Warn("restarts", "service", u.Name, "result", o.result, "reason", o.reason)
		sleep(ctx, u.delay(u.status.Restarts))
		o = outcome{}
	}
	s.rest(u, o)
}

func (t *Status) told(o outcome) {
	t.Result, t.Reason, t.Exit, t.PID = o.result, o.reason, o.exit, 0
	if o.ok() {
		t.Result = resultSuccess
	}
}

// rest is the end of a life.
func (s *Supervisor) rest(u *unit, o outcome) {
	state := Failed
	if o.ok() || o.result == resultCondition {
		state = Inactive
	} else {
		s.Log.Error("failed", "service", u.Name, "result", o.result, "reason", o.reason)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.status.told(o)
	u.ended = time.Now()
	u.stop()
	u.live = false
	s.note(u, state)
	for _, other := range s.units {
		if other.live && slices.Contains(other.BindsTo, u.Name) {
			s.cancel(other)
		}
	}
	for _, name := range u.OnFailure {
		if state == Failed && !s.ending {
			s.start(name)
		}
	}
	if u.again && !s.ending {
		s.start(u.Name)
	}
	u.again = false
}

// clearance waits until a service may start, and says why it may not.
func (s *Supervisor) clearance(ctx context.Context, u *unit) outcome {
	if err := s.await(ctx, func() bool { return !slices.ContainsFunc(u.after, s.pending) }); err != nil {
		return outcome{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Concat(u.Requires, u.BindsTo) {
		other, bound := s.units[name], slices.Contains(u.BindsTo, name)
		switch {
		case other == nil:
			return outcome{result: resultDependency, reason: name + " does not exist"}
		case other.status.State == Failed, bound && other.status.State == Inactive:
			return outcome{result: resultDependency, reason: name + " is " + other.status.State}
		}
	}
	for _, name := range u.Requisite {
		if other := s.units[name]; other == nil || other.status.State != Active {
			return outcome{result: resultDependency, reason: name + " is not up"}
		}
	}
	return outcome{}
}

func (s *Supervisor) pending(name string) bool {
	u := s.units[name]
	return u != nil && (underway(u.status.State) || u.status.State == Deactivating)
}

// limited counts a start.
func (s *Supervisor) limited(u *unit) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	u.starts = slices.DeleteFunc(u.starts, func(t time.Time) bool { return now.Sub(t) > u.StartInterval })
	if u.StartLimit > 0 && len(u.starts) >= u.StartLimit {
		reason := fmt.Sprintf("it was started %d times within %v", len(u.starts), u.StartInterval)
		if u.status.Reason != "" {
			reason += ", and last: " + u.status.Reason
		}
		return outcome{result: resultLimit, reason: reason, exit: u.status.Exit, never: true}
	}
	u.starts = append(u.starts, now)
	return outcome{}
}

// restartsAfter is the table of Restart= in systemd.service(5).
func (u *unit) restartsAfter(o outcome) bool {
	if o.never || o.exit != nil && u.NeverRestartOn.has(*o.exit) {
		return false
	}
	switch u.Restart {
	case "always":
		return true
	case "on-success":
		return o.ok()
	case "on-failure":
		return !o.ok()
	case "on-abnormal":
		return o.result == resultSignal || o.result == resultCore || o.result == resultTimeout
	case "on-abort":
		return o.result == resultSignal || o.result == resultCore
	}
	return false
}

// delay grows from RestartDelay to MaxDelay by equal factors, as systemd's
// RestartSteps= does.
func (u *unit) delay(restarts int) time.Duration {
	if u.RestartSteps <= 0 || u.MaxDelay <= u.RestartDelay || u.RestartDelay <= 0 {
		return u.RestartDelay
	}
	n := min(restarts-1, u.RestartSteps)
	factor := math.Pow(float64(u.MaxDelay)/float64(u.RestartDelay), float64(n)/float64(u.RestartSteps))
	return time.Duration(float64(u.RestartDelay) * factor)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// turn is one start of a service, up to when nothing of it is left.
func (s *Supervisor) turn(ctx context.Context, u *unit) outcome {
	for _, check := range []struct {
		unmet  func() string
		result string
	}{{u.Condition, resultCondition}, {u.Assert, resultAssert}} {
		if check.unmet == nil {
			continue
		}
		if reason := check.unmet(); reason != "" {
			return outcome{result: check.result, reason: reason, never: true}
		}
	}
	s.change(u, Activating, nil)
	r, err := s.newRun(u)
	if err != nil {
		return outcome{result: resultResources, reason: err.Error()}
	}
	defer r.close()
	o := r.begin(ctx)
	up := o.ok() && ctx.Err() == nil
	if up {
		s.change(u, Active, func(t *Status) { t.Result, t.Reason = "", "" })
		s.Log.Info("started", "service", u.Name)
		o = r.hold(ctx)
	}
	s.change(u, Deactivating, nil)
	if ctx.Err() != nil {
		// Those that come behind this one go first.
		_ = s.await(context.Background(), func() bool { return !s.leads(u) })
	}
	return r.end(o, up)
}

// leads says whether a service that comes behind u is still up.
func (s *Supervisor) leads(u *unit) bool {
	for _, other := range s.units {
		up := other.status.State == Activating || other.status.State == Active || other.status.State == Deactivating
		if up && slices.Contains(other.after, u.Name) && other.ending {
			return true
		}
	}
	return false
}
