package node

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"holdfast/internal/api"
)

func TestAPodsCallsAreAnsweredByWhoRunsIt(t *testing.T) {
	c := newControl()
	var recorded []string
	c.record = func(reason string) { recorded = append(recorded, reason) }
	call := dial(t, c)
	if e := call(`{"id":1,"call":"create","params":{"container":"app"}}`); !strings.Contains(e.Error, "not allowed") {
		t.Fatalf("without a pod: got %+v, want it refused", e)
	}
	c.allow(api.PodCalls)
	go func() {
		for one := range c.calls {
			if one.Name == api.CallCreate {
				one.Answer(api.CreateDetail{First: 4}, nil)
			} else {
				one.Answer(nil, errors.New(strings.Repeat("why ", 100)))
			}
		}
	}()
	defer close(c.calls)
	if e := call(`{"id":2,"call":"create","params":{"container":"app"}}`); e.ID != 2 || e.Error != "" || string(e.Detail) != `{"first":4}` {
		t.Errorf("create: got %+v", e)
	}
	if e := call(`{"id":3,"call":"start","params":{}}`); e.ID != 3 || len(e.Error) < 400 {
		t.Errorf("start: got %+v, want all that is to be said", e)
	}
	for _, name := range []string{"update", "copy", "mount", "set-env", "attach-disk", "logs", api.CallSignal, api.CallStdin} {
		if e := call(`{"id":4,"call":"` + name + `"}`); !strings.Contains(e.Error, "not allowed by the measured configuration") {
			t.Errorf("%s: got %+v, want it refused", name, e)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(recorded) != 10 {
		t.Errorf("got %d refusals on record, want 10: %q", len(recorded), recorded)
	}
}

func TestContainersShareAPortAndNotTheirStreams(t *testing.T) {
	var port bytes.Buffer
	s := &podStreams{out: &frames{w: &port}, inputs: map[byte]*os.File{}}
	first, _, err := s.open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, end, err := s.open(4, []string{api.StreamLogs, api.StreamInput})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(first[1], "kept in the machine")
	_, _ = io.WriteString(second[1], "out")
	s.feed(strings.NewReader("\x00\x00\x00\x00\x01x" + "\x05\x00\x00\x00\x01x" + "\x04\x00\x00\x00\x02in" + "\x04\x00\x00\x00\x00" + "\xff\x00\x00\x00\x01x"))
	if in, err := io.ReadAll(first[0]); err != nil || len(in) > 0 {
		t.Errorf("first: got %q, %v, want the end of file", in, err)
	}
	if in, err := io.ReadAll(second[0]); err != nil || string(in) != "in" {
		t.Errorf("second: got %q, %v, want in", in, err)
	}
	closeFiles(first[:])
	closeFiles(second[:])
	s.output.Wait()
	end()
	got := port.String()
	for _, frame := range []string{"\x01\x00\x00\x00\x00", kept + "\x02\x00\x00\x00\x00", "\x05\x00\x00\x00\x03out", "\x05\x00\x00\x00\x00", "\x06\x00\x00\x00\x00"} {
		if !strings.Contains(got, frame) {
			t.Errorf("got %q, want %q in it", got, frame)
		}
	}
	if len(got) != 6*frameHeader+len(kept)+3 || !strings.Contains(got, "the measured configuration keeps this output in its machine") {
		t.Errorf("got %q: not the second's streams, and why there is none of the first's", got)
	}
}

// A process that lives on with the output of one that is forgotten does not keep it.
func TestStreamsEndWithWhatIsForgotten(t *testing.T) {
	var port bytes.Buffer
	s := &podStreams{out: &frames{w: &port}, inputs: map[byte]*os.File{}}
	for range 2 {
		theirs, end, err := s.open(8, []string{api.StreamLogs, api.StreamInput})
		if err != nil {
			t.Fatal(err)
		}
		end() // theirs are still open
		closeFiles(theirs[:])
	}
	if got, want := port.Len(), 4*frameHeader; got != want {
		t.Errorf("got %d bytes, want %d: the end of each output, once", got, want)
	}
}
