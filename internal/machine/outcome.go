package machine

import (
	"fmt"
	"strings"

	"holdfast/internal/api"
)

// A Reason is the kind of end that a machine came to.
type Reason string

// The reasons, from the most telling to the least.
const (
	FirmwareRefused  Reason = "firmware-refused"  // the firmware does not trust the image's signature
	Unbootable       Reason = "unbootable"        // the firmware found nothing to boot
	VerityCorruption Reason = "verity-corruption" // dm-verity found an altered block
	Refused          Reason = "refused"           // the machine itself would not go on: Outcome.Refusal
	OutOfMemory      Reason = "out-of-memory"     // before its workload ran: the image does not fit
	KernelPanic      Reason = "kernel-panic"
	PoweredOff       Reason = "powered-off" // in good order; Outcome.Exit when a workload ended
	Killed           Reason = "killed"      // by us
	Reset            Reason = "reset"       // it rebooted without saying why: a triple fault, say
	Died             Reason = "died"        // what runs the machine ended by itself: Outcome.Exited
)

// An Outcome is how a machine's life ended.
type Outcome struct {
	Reason  Reason
	Exit    *api.ExitDetail    // how the workload ended, if it told
	Refusal *api.RefusedDetail // for Refused
	Corrupt *CorruptBlock      // for VerityCorruption
	Words   string             // the machine's own words: the panic, the firmware's complaint
	Exited  Exited             // how the process that ran the machine ended
	Console []string           // the last lines of the console, made printable
}

// A CorruptBlock is what dm-verity complained about.
type CorruptBlock struct {
	Device   string // MAJOR:MINOR, or a name
	Metadata bool   // a block of the hash tree rather than of the data
	Number   uint64
}

// Exited is how the process that ran a machine ended.
type Exited struct {
	Code   int    // -1 when a signal ended it
	Status string // "exit status 1", "signal: killed"
	Stderr string // the end of what it complained
	Reset  bool   // the machine asked for a reset
}

// String says the outcome in a sentence without a full stop.
func (o Outcome) String() string {
	switch o.Reason {
	case FirmwareRefused:
		return "the firmware refused the image, whose signature it does not trust: " + o.Words
	case Unbootable:
		return "the firmware found nothing to boot on the disk: " + o.Words
	case VerityCorruption:
		return "the disk was altered: " + o.Corrupt.String()
	case Refused:
		return fmt.Sprintf("the machine refused at stage %s: %s", Printable(o.Refusal.Stage), Printable(o.Refusal.Reason))
	case OutOfMemory:
		return "the machine ran out of memory: the image does not fit into it"
	case KernelPanic:
		return "the machine's kernel panicked: " + o.Words
	case PoweredOff:
		return poweredOff(o.Exit)
	case Killed:
		return "the machine was stopped by force"
	case Reset:
		return "the machine reset itself without saying why"
	}
	return o.Exited.String()
}

func poweredOff(exit *api.ExitDetail) string {
	switch {
	case exit == nil:
		return "the machine powered off"
	case exit.OOMKilled:
		return "the workload ran out of memory and was killed"
	case exit.Signal != "":
		return "the workload was ended by " + Printable(exit.Signal)
	}
	return fmt.Sprintf("the workload exited with code %d", exit.Code)
}

// String names the block.
func (c CorruptBlock) String() string {
	kind := "data"
	if c.Metadata {
		kind = "metadata"
	}
	return fmt.Sprintf("dm-verity found %s block %d of device %s corrupted", kind, c.Number, c.Device)
}

// String says how the process ended, with its last complaint.
func (e Exited) String() string {
	text := "the machine's process ended: " + e.Status
	lines := strings.Split(strings.TrimSpace(e.Stderr), "\n")
	if last := lines[len(lines)-1]; last != "" {
		text += ": " + Printable(last)
	}
	return text
}

// Printable removes from a machine's words whatever could act on a terminal:
// control characters and escape sequences.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' || isBidi(r) {
			return -1
		}
		return r
	}, escapes.ReplaceAllString(s, ""))
}

// isBidi tells the runes that reorder the text around them.
func isBidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}
