package node

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// A Refusal is why a machine ends without running its workload.
type Refusal struct {
	Stage string
	Err   error
}

func (r *Refusal) Error() string { return r.Stage + ": " + r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Refused is what the host is told. An error of another service's that has
// this method is told as it says itself.
func (r *Refusal) Refused() api.RefusedDetail {
	return api.RefusedDetail{Stage: r.Stage, Reason: r.Err.Error()}
}

// refusal finds what to tell of err.
func refusal(err error) api.RefusedDetail {
	var r interface{ Refused() api.RefusedDetail }
	if errors.As(err, &r) {
		return r.Refused()
	}
	return api.RefusedDetail{Stage: "node", Reason: err.Error()}
}

// A reporter tells the console and the control channel how far the machine is.
type reporter struct {
	console io.Writer
	control *control
	over    sync.Once
}

// Stage says that a stage was completed; text is a few words for a person,
// digest what the stage was about, where there is one.
func (r *reporter) Stage(name, text, digest string) {
	d := api.StageDetail{Name: name, Text: text, UptimeMillis: uptimeMillis(), Digest: digest}
	r.line("stage %s: %s (%d.%03d s)", name, text, d.UptimeMillis/1000, d.UptimeMillis%1000)
	r.control.send(api.EventStage, d)
}

// maxReason bounds what one line tells: reasons may hold foreign words.
const maxReason = 4 << 10

// refused is the last thing that is said.
func (r *reporter) refused(d api.RefusedDetail) {
	d.Reason = d.Reason[:min(len(d.Reason), maxReason)]
	r.line("refused: %s: %s", d.Stage, d.Reason)
	r.control.send(api.EventRefused, d)
}

// line writes one line to the console, whatever a reason contains.
func (r *reporter) line(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	_, _ = io.WriteString(r.console, "holdfast: "+text+"\n")
}

// uptimeMillis counts from the start of the kernel.
func uptimeMillis() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return t.Nano() / 1e6
}
