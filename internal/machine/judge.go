package machine

import (
	"time"

	"holdfast/internal/api"
)

// rank orders what was seen of a machine: the cause before its consequences.
var rank = map[Reason]int{
	FirmwareRefused:  5,
	Unbootable:       4,
	VerityCorruption: 3,
	Refused:          2,
	OutOfMemory:      1,
	KernelPanic:      1,
}

// note keeps what tells most. The machine should now end by itself, save one
// that only has firmware, which would sit at its prompt for ever.
func (m *Machine) note(o Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	better := rank[o.Reason] > rank[m.found.Reason]
	// The control channel says the same refusal with more detail.
	fuller := o.Reason == Refused && m.found.Reason == Refused && o.Refusal.InitDataDigest != ""
	if better || fuller {
		m.found = o
	}
	if o.Reason == FirmwareRefused || o.Reason == Unbootable {
		m.endWithin(0)
		return
	}
	m.endWithin(m.linger)
}

func (m *Machine) noteExit(exit *api.ExitDetail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exit == nil {
		m.exit = exit
	}
	m.endWithin(m.linger)
}

// endWithin kills the machine after d, unless that was arranged already. The
// caller holds mu.
func (m *Machine) endWithin(d time.Duration) {
	if m.ending == nil {
		m.ending = time.AfterFunc(d, m.backend.Kill)
	}
}

// judge turns all that was seen into the outcome.
func (m *Machine) judge(exited Exited) Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ending != nil {
		m.ending.Stop()
	}
	o := m.found
	if o.Reason == "" {
		o.Reason = m.ended(exited)
	}
	o.Exit, o.Exited, o.Console = m.exit, exited, m.console.lines()
	return o
}

// ended tells the reason of a machine of which nothing telling was seen.
func (m *Machine) ended(exited Exited) Reason {
	switch {
	case m.exit != nil:
		return PoweredOff
	case m.killed && exited.Code != 0: // it may have been quicker
		return Killed
	case exited.Code != 0:
		return Died
	case exited.Reset:
		return Reset
	}
	return PoweredOff
}
