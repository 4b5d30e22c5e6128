package api

import "encoding/json"

// The virtio-serial ports between host and machine.
const (
	ControlPort = "holdfast.control" // JSON lines, both ways
	StdioPort   = "holdfast.stdio"   // frames, see Stream
)

// The bounds of both ports. Whoever reads more than that gives the channel up.
const (
	MaxLine  = 64 << 10 // bytes of a control line, its line feed included
	MaxFrame = 64 << 10 // bytes of data in a stdio frame
)

// The calls a host may make. Status and goodbye are always allowed; the others
// only when the measured configuration lists them.
const (
	CallStatus = "status" // what stage the machine is in
	CallSignal = "signal" // params {"signal":"SIGTERM"}: to the workload
	CallStop   = "stop"   // params StopParams or none: the image's stop signal to the workload; power off when it ends
	// CallGoodbye tells a machine whose last event was exited or refused that
	// the host has it, and all output: it may power off at once.
	CallGoodbye = "goodbye"
	CallStdin   = "stdin" // lets the stdio port carry input
)

// MaxStopSeconds bounds how long a workload may be given to end.
const MaxStopSeconds = 24 * 60 * 60

// StopParams say how long the workload may take to end before it is killed.
type StopParams struct {
	Seconds int `json:"seconds"` // 1 to MaxStopSeconds; 10 when there are no params
}

// A Call is one line from host to machine.
type Call struct {
	ID     uint64          `json:"id"`
	Call   string          `json:"call"`
	Params json.RawMessage `json:"params,omitempty"`
}

// An Event is one line from machine to host: the reply to a call when ID is
// set, news otherwise.
type Event struct {
	ID     uint64          `json:"id,omitempty"`
	Event  string          `json:"event"`
	Error  string          `json:"error,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// The events a machine sends.
const (
	EventReply   = "reply"
	EventStage   = "stage"   // detail StageDetail
	EventRefused = "refused" // detail RefusedDetail: the machine will not run; it powers off
	EventStarted = "started" // the workload runs
	EventExited  = "exited"  // detail ExitDetail; the machine powers off
)

// StageDetail tells that a stage of the machine's life was completed.
type StageDetail struct {
	Name         string `json:"name"`             // modules, root, network, config, attest, pull, …
	Text         string `json:"text,omitempty"`   // a few words for a person
	UptimeMillis int64  `json:"uptime_ms"`        // since the kernel started
	Digest       string `json:"digest,omitempty"` // what the stage was about, where there is one
}

// RefusedDetail says why a machine ends without running its workload.
type RefusedDetail struct {
	Stage  string `json:"stage"`
	Reason string `json:"reason"`
	// InitDataDigest is set when the broker refused: it may have to be told of
	// the configuration.
	InitDataDigest string `json:"init_data_digest,omitempty"`
}

// ExitDetail is how the workload ended.
type ExitDetail struct {
	Code      int    `json:"code"`
	Signal    string `json:"signal,omitempty"`
	OOMKilled bool   `json:"oom_killed,omitempty"`
}

// The streams of a stdio frame: one byte of stream, four of big-endian
// length, then that many bytes. Length 0 closes the stream.
const (
	StreamStdin  = 0
	StreamStdout = 1
	StreamStderr = 2
)
