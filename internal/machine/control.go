package machine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"holdfast/internal/api"
)

// maxEvents is how many events wait for a caller that does not read them;
// more are dropped, so that replies always come through.
const maxEvents = 256

// errChannelClosed answers calls to a machine that ended, or broke the
// control protocol.
var errChannelClosed = errors.New("control channel closed")

// A CallError is a machine's refusal to do what it was asked.
type CallError struct {
	Call   string
	Reason string // the machine's own words, made printable
}

func (e *CallError) Error() string {
	return fmt.Sprintf("the machine refused call %s: %s", e.Call, e.Reason)
}

// A control is the host's end of the control channel. The other end is
// believed in nothing: a line that is too long or no event ends the channel.
type control struct {
	conn   net.Conn
	log    *slog.Logger
	told   func(api.Event) // sees each event before Events does
	events chan api.Event

	mu      sync.Mutex
	last    uint64                    // guarded by mu, as are all below
	pending map[uint64]chan api.Event // by call
	closed  bool
	spoke   bool // whether the machine was ever heard
}

func newControl(conn net.Conn, log *slog.Logger, told func(api.Event)) *control {
	return &control{
		conn: conn, log: log, told: told,
		events:  make(chan api.Event, maxEvents),
		pending: map[uint64]chan api.Event{},
	}
}

// read delivers events until the channel ends. It returns what the machine
// did wrong, if that ended it.
func (c *control) read() error {
	defer c.close()
	r := bufio.NewReaderSize(c.conn, api.MaxLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("line longer than %d bytes", api.MaxLine)
		}
		if err != nil {
			return notGone(err)
		}
		event, err := parseEvent(line)
		if err != nil {
			return err
		}
		c.deliver(event)
	}
}

func parseEvent(line []byte) (api.Event, error) {
	var event api.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return event, fmt.Errorf("line is not an event: %w", err)
	}
	if event.Event == "" {
		return event, errors.New("line names no event")
	}
	return event, nil
}

func (c *control) deliver(event api.Event) {
	if event.Event == api.EventReply {
		c.answer(event)
		return
	}
	c.mu.Lock()
	c.spoke = true
	c.mu.Unlock()
	c.told(event)
	select {
	case c.events <- event:
	default:
		c.log.Warn("machine's event dropped: nobody reads them", "event", Printable(event.Event))
	}
}

func (c *control) answer(event api.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply := c.pending[event.ID]; reply != nil {
		reply <- event // has room for the only one
		delete(c.pending, event.ID)
	}
}

func (c *control) close() {
	_ = c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for id, reply := range c.pending {
		close(reply)
		delete(c.pending, id)
	}
	close(c.events)
}

// call sends a call and waits for its reply.
func (c *control) call(ctx context.Context, call api.Call) (api.Event, error) {
	reply, err := c.send(ctx, &call)
	if err != nil {
		return api.Event{}, fmt.Errorf("call %s: %w", call.Call, err)
	}
	defer c.forget(call.ID)
	select {
	case <-ctx.Done():
		return api.Event{}, fmt.Errorf("call %s: %w", call.Call, ctx.Err())
	case event, ok := <-reply:
		if !ok {
			return event, fmt.Errorf("call %s: %w", call.Call, errChannelClosed)
		}
		if event.Error != "" {
			return event, &CallError{Call: call.Call, Reason: Printable(event.Error)}
		}
		return event, nil
	}
}

func (c *control) send(ctx context.Context, call *api.Call) (<-chan api.Event, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errChannelClosed
	}
	c.last++
	call.ID = c.last
	line, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	if len(line) >= api.MaxLine {
		return nil, fmt.Errorf("longer than %d bytes", api.MaxLine)
	}
	if err := writeBefore(ctx, c.conn, append(line, '\n')); err != nil {
		_ = c.conn.Close() // half a line may have gone out
		return nil, err
	}
	reply := make(chan api.Event, 1)
	c.pending[call.ID] = reply
	return reply, nil
}

func (c *control) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *control) heard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spoke && !c.closed
}

// maxWrite bounds a write to a machine that reads nothing when the caller
// sets no deadline.
const maxWrite = 5 * time.Second

func writeBefore(ctx context.Context, conn net.Conn, p []byte) error {
	deadline := time.Now().Add(maxWrite)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	_, err := conn.Write(p)
	return err
}

// notGone forgives the errors of a peer that is no longer there.
func notGone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || isReset(err) {
		return nil
	}
	return err
}
