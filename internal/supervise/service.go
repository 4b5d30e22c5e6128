// Package supervise runs the services of a machine below its process 1: in
// order, with restarts, and to an orderly end.
//
// It knows processes and nothing of the files that describe them. Who starts a
// service gets it up or a state that says why not; when the supervisor ends, no
// process that it started is left.
package supervise

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of services, by when they count as started.
const (
	Target  = "target"  // no process: a point in the order
	Simple  = "simple"  // once the process was made
	Exec    = "exec"    // once the program was found and runs
	Notify  = "notify"  // once it said READY=1
	Forking = "forking" // once its program has ended, and left another running
	Oneshot = "oneshot" // once all of its commands ended well
	Timed   = "timer"   // once its Timer runs
)

// A Service is what is supervised. Names of others that are not in the
// supervisor's list count for order as absent, and as failed when required.
type Service struct {
	Name, Description string
	Kind              string
	// Order: this one starts behind After and before Before, and stops the
	// other way round.
	After, Before []string
	// Requires and BindsTo are started with it, and it not without them; it is
	// stopped with them. Bound, also when they end by themselves.
	Requires, BindsTo []string
	Requisite         []string // it is not started unless they are up, and stopped with them
	Wants             []string // started with it, whatever comes of them
	PartOf            []string // stopped and restarted with them
	ReloadFrom        []string // it is told to reload when they are
	OnFailure         []string // started when it has failed for good
	Timer             *Timer   // of one that starts another
	// Condition and Assert say why it is not to be started, "" to go on. Unmet
	// conditions count as success.
	Condition, Assert func() string

	StartIf, StartPre, Start, StartPost, Reload, Stop, StopPost []Command
	Process                                                     Process

	Restart        string // no, always, on-success, on-failure, on-abnormal, on-abort, on-watchdog
	RestartDelay   time.Duration
	RestartSteps   int           // in which the delay grows to MaxDelay; 0: it stays
	MaxDelay       time.Duration // of RestartSteps
	StartLimit     int           // starts within StartInterval before it is given up; 0: no limit
	StartInterval  time.Duration
	NeverRestartOn Statuses
	SuccessOn      Statuses      // beside what counts as success anyway
	RemainAfter    bool          // it stays active when its processes have ended
	StartTimeout   time.Duration // 0: none
	StopTimeout    time.Duration // 0: none
	Kill           Kill
	NotifyAccess   string // none, main or all
	PIDFile        string // that a forking service writes its main process to; removed at its end
	NoGuess        bool   // without PIDFile a forking service has no main process
	Tasks          string // how many processes and threads it may have: a number, one with %, or "": no limit
}

// A Command is one program call. $NAME as a word of its own, and ${NAME}
// anywhere, are replaced by the environment, unless Verbatim.
type Command struct {
	Path          string // absolute, or a name that is looked for in the path
	Args          []string
	IgnoreFailure bool
	Verbatim      bool
	Privileged    bool // as root and outside the sandbox, whatever the service's user
	Elevated      bool // as root, whatever the service's user
}

// processless says that a service has no programs of its own.
func (s *Service) processless() bool { return s.Kind == Target || s.Kind == Timed }

func (s *Service) defaults() {
	s.Kind = cmp.Or(s.Kind, Simple)
	s.Kill.Mode = cmp.Or(s.Kill.Mode, "control-group")
	s.Kill.Signal = cmp.Or(s.Kill.Signal, unix.SIGTERM)
	s.Kill.FinalSignal = cmp.Or(s.Kill.FinalSignal, unix.SIGKILL)
	if s.Kind == Notify {
		s.NotifyAccess = cmp.Or(s.NotifyAccess, "main")
	}
}

// A Kill says how processes are ended.
type Kill struct {
	Mode        string // control-group, mixed, process or none
	Signal      unix.Signal
	FinalSignal unix.Signal
	NoFinal     bool // SendSIGKILL=no
	Hangup      bool // SIGHUP follows at once
}

// Statuses are exits that are treated apart.
type Statuses struct {
	Codes   []int
	Signals []unix.Signal
}

func (s Statuses) has(e Exit) bool {
	if e.Signal != 0 {
		return slices.Contains(s.Signals, e.Signal)
	}
	return slices.Contains(s.Codes, e.Code)
}

// States of a service.
const (
	Inactive     = "inactive"
	Waiting      = "waiting" // for what it comes behind
	Activating   = "activating"
	Active       = "active"
	Deactivating = "deactivating"
	Restarting   = "restarting" // it waits until it is started again
	Failed       = "failed"
)

// Results of a service that is not active, beside success.
const (
	resultSuccess    = "success"
	resultCondition  = "condition" // unmet: not an error
	resultAssert     = "assert"
	resultDependency = "dependency"
	resultExitCode   = "exit-code"
	resultSignal     = "signal"
	resultCore       = "core-dump"
	resultTimeout    = "timeout"
	resultLimit      = "start-limit-hit"
	resultResources  = "resources"
	resultProtocol   = "protocol"
)

// A Status is how a service is now.
type Status struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	State       string    `json:"state"`
	Result      string    `json:"result,omitempty"` // of its last end
	Reason      string    `json:"reason,omitempty"` // in words, what led to the result
	Text        string    `json:"text,omitempty"`   // what it says of itself
	PID         int       `json:"pid,omitempty"`
	Since       time.Time `json:"since"`
	Restarts    int       `json:"restarts,omitempty"`
	Exit        *Exit     `json:"exit,omitempty"` // of its main process
}

// An Exit is how a process ended.
type Exit struct {
	Code   int         `json:"code"`
	Signal unix.Signal `json:"signal,omitempty"`
	Core   bool        `json:"core,omitempty"`
}

func exitOf(w unix.WaitStatus) Exit {
	if w.Signaled() {
		return Exit{Signal: w.Signal(), Core: w.CoreDump()}
	}
	return Exit{Code: w.ExitStatus()}
}
