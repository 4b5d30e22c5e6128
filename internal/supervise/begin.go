package supervise

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// begin brings a service up.
func (r *run) begin(ctx context.Context) outcome {
	if r.u.processless() {
		return outcome{}
	}
	if o := r.commands(ctx, r.u.StartIf, r.u.StartTimeout); !o.ok() {
		if o.exit != nil && o.exit.Signal == 0 && o.exit.Code < 255 {
			o.result, o.never = resultCondition, true
		}
		return o
	}
	if o := r.commands(ctx, r.u.StartPre, r.u.StartTimeout); !o.ok() || ctx.Err() != nil {
		return o
	}
	if o := r.main(ctx); !o.ok() || ctx.Err() != nil {
		return o
	}
	if o := r.commands(ctx, r.u.StartPost, r.u.StartTimeout, r.mainPID()...); !o.ok() || ctx.Err() != nil {
		return o
	}
	return r.found(ctx)
}

func (r *run) main(ctx context.Context) outcome {
	if r.u.Kind == Oneshot {
		for _, c := range r.u.Start {
			if o := r.starter(ctx, c); !o.ok() || ctx.Err() != nil {
				return o
			}
		}
		return outcome{}
	}
	if r.u.Kind == Forking {
		return r.fork(ctx)
	}
	pid, end, err := r.launch(r.u.Start[0])
	if err != nil {
		return outcome{result: resultResources, reason: err.Error()}
	}
	r.lead(pid, end)
	if r.u.Kind != Notify {
		return outcome{}
	}
	return r.ready(ctx)
}

// lead makes a process the main one.
func (r *run) lead(pid int, end <-chan unix.WaitStatus) {
	r.pid, r.death = pid, end
	r.s.change(r.u, "", func(t *Status) { t.PID = pid })
}

func (r *run) mainPID() []string {
	if r.pid == 0 {
		return nil
	}
	return []string{"MAINPID=" + strconv.Itoa(r.pid)}
}

// ready waits until the service says that it is.
func (r *run) ready(ctx context.Context) outcome {
	ctx, cancel := within(ctx, r.u.StartTimeout)
	defer cancel()
	for {
		select {
		case m := <-r.notify.messages:
			if r.heed(m) {
				return outcome{}
			}
		case status := <-r.death:
			return r.ended(status, true)
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return outcome{result: resultTimeout, reason: fmt.Sprintf("it did not say READY=1 within %v", r.u.StartTimeout)}
			}
			return outcome{}
		}
	}
}

// ended judges the end of the main process.
func (r *run) ended(status unix.WaitStatus, early bool) outcome {
	r.pid, r.death = 0, nil
	o := judge(r.u.Start[0].Path, exitOf(status), r.u.SuccessOn, true)
	if r.u.Start[0].IgnoreFailure {
		o = outcome{exit: o.exit}
	}
	if o.ok() && early {
		return outcome{result: resultProtocol, reason: "it ended before it said READY=1", exit: o.exit}
	}
	return o
}

// heed takes what a service says of itself (sd_notify(3)), and says whether it
// is ready.
func (r *run) heed(m message) (ready bool) {
	if r.u.NotifyAccess == "main" && m.pid != r.pid {
		return false
	}
	for line := range strings.SplitSeq(m.text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "READY":
			ready = ready || value == "1"
		case "STATUS":
			r.s.change(r.u, "", func(t *Status) { t.Text = value })
		case "MAINPID":
			r.follow(value)
		}
	}
	return ready
}

// follow takes another process for the main one, if it is the service's.
func (r *run) follow(text string) {
	pid, err := strconv.Atoi(text)
	if err != nil || pid == r.pid || !r.group.has(pid) {
		return
	}
	if end, err := r.s.Processes.Adopt(pid); err == nil {
		r.lead(pid, end)
	}
}

// hold is the time in which a service is up.
func (r *run) hold(ctx context.Context) (o outcome) {
	if r.u.Kind == Timed {
		return r.tick(ctx)
	}
	stays := r.u.Kind == Target || r.u.RemainAfter
	if r.death == nil && !stays && r.u.Kind != Forking {
		return outcome{}
	}
	var messages <-chan message
	if r.notify != nil {
		messages = r.notify.messages
	}
	var look <-chan time.Time // of a service whose processes alone tell that it is up
	if r.death == nil && !stays {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		look = ticker.C
	}
	for {
		select {
		case m := <-messages:
			r.heed(m)
		case status := <-r.death:
			if o = r.ended(status, false); !o.ok() || !stays {
				return o
			}
			r.s.change(r.u, Active, func(t *Status) { t.PID, t.Exit = 0, o.exit })
		case <-look:
			if r.group.empty() {
				return outcome{}
			}
		case <-r.u.reload:
			r.again(ctx)
		case <-ctx.Done():
			return outcome{}
		}
	}
}

// again has a service read its configuration again. That it does not is no end
// of it (systemd.service(5), ExecReload=).
func (r *run) again(ctx context.Context) {
	if o := r.commands(ctx, r.u.Reload, r.u.StartTimeout, r.mainPID()...); !o.ok() {
		r.s.Log.Warn("is not reloaded", "service", r.u.Name, "result", o.result, "reason", o.reason)
		return
	}
	r.s.Log.Info("reloaded", "service", r.u.Name)
}
