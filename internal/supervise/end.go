package supervise

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// end takes a service down; up says that it had started.
func (r *run) end(o outcome, up bool) outcome {
	if r.u.processless() {
		return o
	}
	ctx := context.Background()
	if up {
		if stopped := r.commands(ctx, r.u.Stop, r.u.StopTimeout, append(r.mainPID(), r.told(o)...)...); o.ok() {
			o = stopped
		}
	}
	if killed := r.kill(); o.ok() {
		o = killed
	}
	if o.ok() {
		o = r.dying
	}
	if post := r.commands(ctx, r.u.StopPost, r.u.StopTimeout, r.told(o)...); o.ok() && !post.ok() {
		o = post
	}
	if r.u.PIDFile != "" {
		_ = os.Remove(r.u.PIDFile) // most remove it themselves
	}
	if r.u.Kill.Mode != "none" && r.u.Kill.Mode != "process" {
		r.clean(time.Second)
	}
	if err := r.u.Process.tidy(r.u.restartsAfter(o)); err != nil && o.ok() {
		o = outcome{result: resultResources, reason: err.Error()}
	}
	return o
}

// told are the variables by which commands learn how the service ended
// (systemd.exec(5)).
func (r *run) told(o outcome) []string {
	env := []string{"SERVICE_RESULT=" + o.result}
	if o.ok() {
		env[0] = "SERVICE_RESULT=" + resultSuccess
	}
	switch {
	case o.exit == nil:
	case o.exit.Signal != 0:
		env = append(env, "EXIT_CODE=killed", "EXIT_STATUS="+unix.SignalName(o.exit.Signal)[3:])
	default:
		env = append(env, "EXIT_CODE=exited", "EXIT_STATUS="+strconv.Itoa(o.exit.Code))
	}
	return env
}

// kill ends what is left of a service, politely first.
func (r *run) kill() outcome {
	k := r.u.Kill
	if k.Mode == "none" {
		return outcome{}
	}
	whole := k.Mode != "process"
	r.signal(k.Signal, whole && k.Mode != "mixed")
	r.signal(unix.SIGCONT, whole && k.Mode != "mixed")
	if k.Hangup {
		r.signal(unix.SIGHUP, whole && k.Mode != "mixed")
	}
	if k.Mode == "mixed" {
		if o := r.await(false); !o.ok() {
			return o
		}
		r.group.signal(k.FinalSignal)
	}
	return r.await(whole)
}

func (r *run) signal(s unix.Signal, whole bool) {
	if whole {
		r.group.signal(s)
	} else if r.pid != 0 {
		_ = unix.Kill(r.pid, s)
	}
}

// await waits until the main process, or all of them, have ended, and kills what
// takes too long.
func (r *run) await(whole bool) (o outcome) {
	if r.gone(r.u.StopTimeout, whole) {
		return o
	}
	o = outcome{result: resultTimeout, reason: fmt.Sprintf("it did not stop within %v", r.u.StopTimeout)}
	if r.u.Kill.NoFinal {
		return o
	}
	r.signal(r.u.Kill.FinalSignal, whole)
	if r.pid != 0 && !whole {
		_ = unix.Kill(r.pid, r.u.Kill.FinalSignal)
	}
	r.gone(last, whole)
	return o
}

// last is how long a process may take to die that was killed: it may hang in
// the kernel.
const last = 10 * time.Second

// clean kills whatever the last commands have left.
func (r *run) clean(patience time.Duration) {
	if !r.group.empty() {
		r.group.signal(unix.SIGKILL)
		r.gone(patience, true)
	}
}

// gone waits for the end of processes; 0 is for ever.
func (r *run) gone(patience time.Duration, whole bool) bool {
	ctx, cancel := within(context.Background(), patience)
	defer cancel()
	if r.death != nil {
		select {
		case status := <-r.death:
			r.dying = r.ended(status, false)
		case <-ctx.Done():
			return false
		}
	}
	for pause := time.Millisecond; whole && !r.group.empty(); pause = min(2*pause, 50*time.Millisecond) {
		sleep(ctx, pause)
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}
