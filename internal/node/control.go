package node

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

// control is the machine's end of the control channel. It denies by default:
// before the configuration was measured and read, status is all there is.
type control struct {
	signals chan unix.Signal // what the host asks to send to the workload
	stop    chan struct{}    // closed when the host asks for the end
	calls   chan api.PodCall // for whoever runs the pod, if there is one
	events  chan api.Event
	closing chan struct{}       // closed when no more events will be sent
	written chan struct{}       // closed when no more events will be written
	goodbye chan struct{}       // closed when the host has them all
	record  func(reason string) // told of the first calls that are refused

	mu      sync.Mutex // guards the fields below
	allowed map[string]bool
	last    api.StageDetail
	stopped bool
	grace   time.Duration // that the host gives the workload to end
	left    bool          // the host said goodbye
	refused int           // calls
	noted   int           // of what the host does beside them
}

// maxWaiting is how many calls for a pod wait until it takes them.
const maxWaiting = 64

// maxRecorded is how many refused calls are recorded, and how much of what else
// the host does: it may go on for ever.
const maxRecorded = 32

func newControl() *control {
	return &control{
		signals: make(chan unix.Signal, 16),
		stop:    make(chan struct{}),
		calls:   make(chan api.PodCall, maxWaiting),
		events:  make(chan api.Event, 64),
		closing: make(chan struct{}),
		written: make(chan struct{}),
		goodbye: make(chan struct{}),
		record:  func(string) {},
	}
}

// allow replaces what the host may call beside status.
func (c *control) allow(calls []string) {
	allowed := make(map[string]bool)
	for _, name := range calls {
		allowed[name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed = allowed
}

// allows says whether the configuration lists a call.
func (c *control) allows(call string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allowed[call]
}

// open connects the channel to its port. A machine without one is not
// watched, but lives.
func (c *control) open(dir string) error {
	port, err := openPort(dir, api.ControlPort)
	switch {
	case errors.Is(err, errNoPort):
		go c.write(io.Discard)
		close(c.goodbye) // nobody to wait for
		c.left = true
		return nil
	case err != nil:
		return err
	}
	go c.write(port)
	go func() { _ = c.read(patient{port, hostPause}) }()
	return nil
}

// send queues news; it waits only when the host has left 64 events unread.
func (c *control) send(event string, detail any) {
	e := api.Event{Event: event}
	if detail != nil {
		e.Detail, _ = json.Marshal(detail) // our own types: they marshal
	}
	if d, ok := detail.(api.StageDetail); ok {
		c.mu.Lock()
		c.last = d
		c.mu.Unlock()
	}
	c.queue(e)
}

func (c *control) queue(e api.Event) {
	select {
	case c.events <- e:
	case <-c.closing:
	}
}

// write carries events to the host until finish. What cannot be written is
// dropped: the machine's life does not depend on being watched.
func (c *control) write(w io.Writer) {
	defer close(c.written)
	encoder := json.NewEncoder(w)
	for {
		select {
		case e := <-c.events:
			_ = encoder.Encode(e)
		case <-c.closing:
			for len(c.events) > 0 {
				_ = encoder.Encode(<-c.events)
			}
			return
		}
	}
}

// finish waits until the host has every event, within reason: what a port has
// taken may still be on its way when the machine is off.
func (c *control) finish(patience time.Duration) {
	close(c.closing)
	late := time.After(patience)
	for _, done := range []chan struct{}{c.written, c.goodbye} {
		select {
		case <-done:
		case <-late:
			return
		}
	}
}

// read answers calls until the port ends.
func (c *control) read(r io.Reader) error {
	lines := bufio.NewReaderSize(r, api.MaxLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			if reply := c.answer(line); reply.Event != "" {
				c.queue(reply)
			}
		case errors.Is(err, bufio.ErrBufferFull):
			if err := skipLine(lines); err != nil {
				return err
			}
			c.mu.Lock()
			reply := c.refuse(0, fmt.Errorf("a call has at most %d bytes", api.MaxLine))
			c.mu.Unlock()
			c.queue(reply)
		default:
			return err
		}
	}
}

func skipLine(lines *bufio.Reader) error {
	for {
		_, err := lines.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// refuse records that a call was refused, and returns the reply; mu is held. Its
// words are short: an error may repeat what the host sent, and a reply of more
// than a line would end the channel.
func (c *control) refuse(id uint64, err error) api.Event {
	words := fmt.Sprintf("%.200s", err.Error())
	c.refused++
	if c.refused <= maxRecorded {
		c.record(words)
	}
	return api.Event{ID: id, Event: api.EventReply, Error: words}
}

// note records what else was refused of a host, which does not ask.
func (c *control) note(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.noted++; c.noted <= maxRecorded {
		c.record(reason)
	}
}

// answer does what one line asks for and returns the reply; an empty one when
// the reply comes later.
func (c *control) answer(line []byte) api.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	var call api.Call
	if err := unmarshalStrictly(line, &call); err != nil {
		return c.refuse(0, fmt.Errorf("not a call: %w", err))
	}
	if !alwaysAllowed[call.Call] && !c.allowed[call.Call] {
		return c.refuse(call.ID, fmt.Errorf("call %.40q is not allowed by the measured configuration", call.Call))
	}
	if isPodCall(call.Call) {
		return c.hand(call)
	}
	detail, err := c.perform(call)
	if err != nil {
		return c.refuse(call.ID, fmt.Errorf("%s: %w", call.Call, err))
	}
	return api.Event{ID: call.ID, Event: api.EventReply, Detail: detail}
}

var alwaysAllowed = map[string]bool{api.CallStatus: true, api.CallGoodbye: true}

// perform runs an allowed call; mu is held.
func (c *control) perform(call api.Call) (json.RawMessage, error) {
	switch call.Call {
	case api.CallStatus:
		return json.Marshal(c.last)
	case api.CallGoodbye:
		if !c.left {
			c.left = true
			close(c.goodbye)
		}
		return nil, nil
	case api.CallSignal:
		return nil, c.signal(call.Params)
	case api.CallStop:
		return nil, c.end(call.Params)
	case api.CallStdin:
		return nil, nil // that it is allowed is all the host needs to know
	default:
		return nil, errors.New("unknown call")
	}
}

// end takes the first call's word for how long the workload may take.
func (c *control) end(params json.RawMessage) error {
	var p api.StopParams
	if params != nil {
		if err := unmarshalStrictly(params, &p); err != nil {
			return err
		}
		if p.Seconds < 1 || p.Seconds > api.MaxStopSeconds {
			return fmt.Errorf("%d seconds: want 1 to %d", p.Seconds, api.MaxStopSeconds)
		}
	}
	if !c.stopped {
		c.stopped, c.grace = true, time.Duration(p.Seconds)*time.Second
		close(c.stop)
	}
	return nil
}

// stopGrace is what the host said when it asked for the end; 0 if nothing.
func (c *control) stopGrace() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.grace
}

func (c *control) signal(params json.RawMessage) error {
	var p struct {
		Signal string `json:"signal"`
	}
	if err := unmarshalStrictly(params, &p); err != nil {
		return err
	}
	s := unix.SignalNum(p.Signal)
	if s == 0 {
		return fmt.Errorf("unknown signal %.20q", p.Signal)
	}
	select {
	case c.signals <- s:
		return nil
	default:
		return errors.New("too many signals wait already")
	}
}

func unmarshalStrictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the value")
	}
	return nil
}
