package wiring

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/journal"
	"holdfast/internal/machine"
)

// A State is how far a run came.
type State string

// The states of a run, in their order; a run ends in one of the last four.
const (
	Preparing State = "preparing" // images are fetched or built
	Booting   State = "booting"   // its machine proves itself: Record.Stage
	Live      State = "running"   // the workload runs
	Exited    State = "exited"    // the workload ended: Record.Exit
	Denied    State = "refused"   // something in the chain said no: Record.Reason
	Failed    State = "failed"    // Holdfast could not run it: Record.Reason
	Dead      State = "dead"      // its process vanished
)

// A Record is what is known of a run, in its folder from its first moment on.
// It holds names and digests, never a secret.
type Record struct {
	Name     string     `json:"name"`
	Image    string     `json:"image"`
	Digest   string     `json:"digest,omitempty"`
	State    State      `json:"state"`
	Stage    string     `json:"stage,omitempty"` // the last that its machine completed
	Exit     *int       `json:"exit_code,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Ports    []string   `json:"published"`
	Memory   int        `json:"memory_mib"`
	CPUs     int        `json:"cpus,omitempty"` // 0: not said
	Detached bool       `json:"detached"`
	PID      int        `json:"pid,omitempty"` // of its process, while that lives
	Created  time.Time  `json:"created"`
	Started  *time.Time `json:"started,omitempty"` // when the workload did
	Ended    *time.Time `json:"ended,omitempty"`

	// What is to be taken back when the process vanishes.
	Configuration string   `json:"configuration,omitempty"` // that the broker authorised
	Secrets       []string `json:"secrets,omitempty"`       // paths that the broker holds for it
	TPM           string   `json:"tpm,omitempty"`           // folder of its software TPM's socket
	Keep          bool     `json:"keep"`                    // its output, when it has ended
}

// Over says whether the run has ended.
func (r *Record) Over() bool { return r.Ended != nil }

// owes says whether something is still to be taken back.
func (r *Record) owes() bool { return r.Configuration != "" || len(r.Secrets) > 0 }

// The files of a run's folder that outlive it.
const (
	recordFile  = "run.json"
	outputFile  = "output"
	machineFile = "machine" // the folder of the machine's console and logs
	stopFile    = "stop"    // when the workload is to be killed, while it is asked to end
)

// A recorder writes the record of the run that this process is.
type recorder struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	record Record // guarded by mu
}

// newRecorder writes the first record: from now on whoever finds the run
// without its process knows what it was.
func (s *session) newRecorder() (*recorder, error) {
	r := &recorder{path: s.path(recordFile), log: s.Log}
	r.record = Record{
		Name: s.Name, Image: s.Image, State: Preparing, Ports: []string{}, Memory: s.Memory, CPUs: s.CPUs,
		Detached: s.Detached, Keep: s.Keep, PID: os.Getpid(), Created: time.Now(),
	}
	return r, r.write()
}

// write is called with mu held, or before anybody else knows r.
func (r *recorder) write() error {
	raw, err := json.MarshalIndent(r.record, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(r.path, raw, 0o600)
}

// note changes the record.
func (r *recorder) note(change func(*Record)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.record)
	return r.write()
}

// mention is note of what nobody has to know.
func (r *recorder) mention(change func(*Record)) {
	if err := r.note(change); err != nil && r.log != nil {
		r.log.Warn("record of the run cannot be written", "err", err)
	}
}

func (r *recorder) now() Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record
}

// maxRecord is more than a record has.
const maxRecord = 1 << 20

// readRecord reads the record in a run's folder; fs.ErrNotExist when it has none.
func readRecord(folder string) (*Record, error) {
	path := filepath.Join(folder, recordFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecord {
		return nil, fmt.Errorf("%s has %d bytes: want at most %d", path, info.Size(), maxRecord)
	}
	raw, err := input.ReadFile(path, input.Document)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// end notes how the run ended.
func (r *Record) end(result *Result, err error) {
	now := time.Now()
	r.Ended, r.PID, r.TPM = &now, 0, ""
	if result == nil {
		r.State, r.Reason = Failed, fmt.Sprint(err)
		return
	}
	o := result.Outcome
	r.State, r.Reason = Failed, o.String()
	switch {
	case result.Interrupted && r.Started != nil:
		killed := 128 + int(syscall.SIGKILL)
		r.State, r.Exit, r.Reason = Exited, &killed, "killed with its machine"
	case o.Reason == machine.PoweredOff && o.Exit != nil:
		r.State, r.Exit = Exited, &o.Exit.Code
	case o.Reason == machine.Refused || o.Reason == machine.FirmwareRefused || o.Reason == machine.VerityCorruption:
		r.State = Denied
	}
}

// keepOutput has the workload's output written to the run's journal instead
// of to a terminal that may go away.
func (s *session) keepOutput() (close func() error, err error) {
	if !s.Journal {
		return func() error { return nil }, nil
	}
	j, err := journal.Create(s.path(outputFile), journal.DefaultSize)
	if err != nil {
		return nil, err
	}
	s.Stdout, s.Stderr = j.Stream(journal.Stdout), j.Stream(journal.Stderr)
	return j.Close, nil
}

// tidy removes what the run made, and keeps what a person may want to see: the
// machine's logs when it ended otherwise than by its workload's end, and the
// output of a run that is to be kept.
func (s *session) tidy(result *Result, failed error) error {
	if s.record == nil {
		return os.RemoveAll(s.folder)
	}
	well := result == nil || result.isGood()
	last := s.record.now()
	if keep := s.Keep && last.Started != nil; !last.owes() && (s.Remove || well && !keep) {
		return os.RemoveAll(s.folder)
	}
	if !well {
		s.report.Logs = s.path(machineFile)
	}
	err := s.record.note(func(r *Record) { r.end(result, failed) })
	return errors.Join(err, clearFolder(s.folder))
}

// isAbsent forgives a file that is not there.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
