// Package progress says how far a long step has come.
//
// Whoever works calls Start and moves the Step; whoever shows it decides how:
// a bar on a terminal, lines in a log, JSON for a program. The zero choice is
// Silent, so no mechanism has to check for nil.
package progress

// A Reporter is told of steps. Its methods may be called from several
// goroutines at once.
type Reporter interface {
	// Start begins a step. Total is its size in unit; 0 when unknown.
	Start(name string, total int64, unit Unit) Step
}

// A Step is one piece of work under way. Exactly one of Done or Fail ends it.
type Step interface {
	// Add moves the step by n units.
	Add(n int64)
	// Note replaces the few words shown beside the step.
	Note(text string)
	// Done ends the step; text says the outcome and may be empty.
	Done(text string)
	// Fail ends the step without success. The error itself is returned to the
	// caller, never printed here.
	Fail()
}

// A Unit says what a step counts.
type Unit string

// The units a step may count.
const (
	Bytes Unit = "bytes"
	Items Unit = "items"
	None  Unit = ""
)

// Silent reports nothing.
var Silent Reporter = silent{}

type silent struct{}

func (silent) Start(string, int64, Unit) Step { return silent{} }
func (silent) Add(int64)                      {}
func (silent) Note(string)                    {}
func (silent) Done(string)                    {}
func (silent) Fail()                          {}

// Or returns r, or Silent when r is nil.
func Or(r Reporter) Reporter {
	if r == nil {
		return Silent
	}
	return r
}
