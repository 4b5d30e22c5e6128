package node

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// dial is the host's end of a control channel that is at work.
func dial(t *testing.T, c *control) func(line string) api.Event {
	t.Helper()
	host, machine := net.Pipe()
	go c.write(machine)
	go func() { _ = c.read(machine) }()
	t.Cleanup(func() { _ = host.Close() })
	lines := bufio.NewReader(host)
	return func(line string) (e api.Event) {
		t.Helper()
		if _, err := io.WriteString(host, line+"\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(reply, &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
}

func TestOnlyStatusIsAllowedByDefault(t *testing.T) {
	c := newControl()
	call := dial(t, c)
	if e := call(`{"id":1,"call":"status"}`); e.ID != 1 || e.Event != api.EventReply || e.Error != "" {
		t.Errorf("status: got %+v", e)
	}
	for _, name := range []string{api.CallSignal, api.CallStop, api.CallStdin, "exec", "", "copy"} {
		if e := call(`{"id":2,"call":"` + name + `"}`); !strings.Contains(e.Error, "not allowed by the measured configuration") {
			t.Errorf("%q: got %+v, want it refused", name, e)
		}
	}
	select {
	case <-c.stop:
		t.Error("a refused stop stopped the machine")
	default:
	}
}

func TestRefusedCallsAreRecordedButNotForEver(t *testing.T) {
	c := newControl()
	var recorded []string
	c.record = func(reason string) { recorded = append(recorded, reason) }
	call := dial(t, c)
	for range 2 * maxRecorded {
		call(`{"id":2,"call":"exec"}`)
	}
	if len(recorded) != maxRecorded || !strings.Contains(recorded[0], `call "exec" is not allowed`) {
		t.Errorf("got %d records, %.80q, want %d that name the call", len(recorded), recorded, maxRecorded)
	}
	call(`{"id":3,"call":"status"}`)
	if len(recorded) != maxRecorded {
		t.Error("an allowed call was recorded")
	}
}

func TestListedCallsWork(t *testing.T) {
	c := newControl()
	c.allow([]string{api.CallSignal, api.CallStop})
	call := dial(t, c)
	if e := call(`{"id":1,"call":"signal","params":{"signal":"SIGHUP"}}`); e.Error != "" {
		t.Errorf("signal: %s", e.Error)
	}
	if got := <-c.signals; got != unix.SIGHUP {
		t.Errorf("got %v, want SIGHUP", got)
	}
	for _, params := range []string{`{"seconds":0}`, `{"seconds":86401}`, `{"seconds":1.5}`, `{"minutes":1}`, `null1`, `[]`} {
		if e := call(`{"id":2,"call":"stop","params":` + params + `}`); e.Error == "" {
			t.Errorf("stop with %s was taken", params)
		}
	}
	for _, line := range []string{`{"id":2,"call":"stop","params":{"seconds":90}}`, `{"id":2,"call":"stop"}`} {
		if e := call(line); e.Error != "" {
			t.Errorf("stop: %s", e.Error)
		}
	}
	<-c.stop
	if got := c.stopGrace(); got != 90*time.Second {
		t.Errorf("got grace %v, want that of the first call", got)
	}
	if e := call(`{"id":3,"call":"stdin"}`); e.Error == "" {
		t.Error("a call that is not listed was allowed")
	}
}

func TestBadCallsAreAnsweredAndSurvived(t *testing.T) {
	c := newControl()
	c.allow([]string{api.CallSignal})
	call := dial(t, c)
	for line, want := range map[string]string{
		"x":                        "not a call",
		`{"id":1} {}`:              "something follows",
		`{"id":1,"cmd":"status"}`:  "unknown field",
		`{"id":1,"call":"signal"}`: "EOF",
		`{"id":1,"call":"signal","params":{"signal":"9"}}`: `unknown signal "9"`,
		strings.Repeat("y", 3*api.MaxLine):                 "a call has at most 65536 bytes",
	} {
		if e := call(line); !strings.Contains(e.Error, want) {
			t.Errorf("%.30q: got %q, want %q", line, e.Error, want)
		}
	}
	if e := call(`{"id":4,"call":"status"}`); e.ID != 4 || e.Error != "" {
		t.Errorf("status afterwards: got %+v", e)
	}
}

func TestStatusTellsTheLastStage(t *testing.T) {
	c := newControl()
	c.send(api.EventStage, api.StageDetail{Name: "root", UptimeMillis: 1234})
	<-c.events
	e := dial(t, c)(`{"id":1,"call":"status"}`)
	var d api.StageDetail
	if err := json.Unmarshal(e.Detail, &d); err != nil || d.Name != "root" || d.UptimeMillis != 1234 {
		t.Errorf("got %s, %v", e.Detail, err)
	}
}

func TestFinishWritesWhatIsQueued(t *testing.T) {
	c := newControl()
	c.send(api.EventStarted, nil)
	c.send(api.EventExited, api.ExitDetail{Code: 7})
	var b strings.Builder
	go c.write(&b)
	c.finish(5 * time.Second)
	want := `{"event":"started"}` + "\n" + `{"event":"exited","detail":{"code":7}}` + "\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	c.send(api.EventStarted, nil) // nobody reads any more: must not hang
}

func TestTheMachineWaitsForAGoodbyeWithinReason(t *testing.T) {
	c := newControl()
	go c.write(io.Discard)
	began := time.Now()
	c.answer([]byte(`{"id":1,"call":"goodbye"}`))
	c.answer([]byte(`{"id":2,"call":"goodbye"}`))
	c.finish(time.Minute)
	if waited := time.Since(began); waited > 30*time.Second {
		t.Errorf("waited %s after the goodbye", waited)
	}
	silent := newControl()
	go silent.write(io.Discard)
	silent.finish(time.Millisecond) // returns although nobody says goodbye
}
