package node

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// A Refusal is why a machine ends without running its workload.
type Refusal struct {
	Stage string
	Err   error
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused: %s: %v", r.Stage, r.Err) }
func (r *Refusal) Unwrap() error { return r.Err }

// A reporter tells the console and the control channel how far the machine is.
type reporter struct {
	console io.Writer
	send    func(event string, detail any)
}

// Stage says that a stage was completed; text is a few words for a person,
// digest what the stage was about, where there is one.
func (r *reporter) Stage(name, text, digest string) {
	d := api.StageDetail{Name: name, Text: text, UptimeMillis: uptimeMillis(), Digest: digest}
	fmt.Fprintf(r.console, "holdfast: stage %s: %s (%d.%03d s)\n", name, text, d.UptimeMillis/1000, d.UptimeMillis%1000)
	r.send(api.EventStage, d)
}

// uptimeMillis counts from the start of the kernel.
func uptimeMillis() int64 {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return t.Nano() / 1e6
}
