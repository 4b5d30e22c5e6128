package attack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// A victim is an honest machine whose workload, Redis, runs, while its host
// holds the other end of the control channel.
type victim struct {
	*stage
	password string
	address  string // where Redis answers
	wire     *tap
	console  *record
	output   *record // the workload's
	ended    chan struct{}
	err      error // set before ended is closed
	stop     context.CancelFunc

	turn sync.Mutex // one attack at a time
}

// victim is the machine that all attacks from outside on a running machine
// share.
func (l *Lab) victim(ctx context.Context) (*victim, error) {
	return Shared(l, "victim", func() (*victim, error) {
		v, err := l.start(ctx, "victim", func(*wiring.Run) {})
		if err == nil {
			l.Later(v.end)
		}
		return v, err
	})
}

// start starts a machine and waits until its workload answers.
func (l *Lab) start(ctx context.Context, name string, change func(*wiring.Run)) (*victim, error) {
	r, err := l.rig(ctx)
	if err != nil {
		return nil, err
	}
	s, err := r.stage(ctx, name)
	if err != nil {
		return nil, err
	}
	v := &victim{stage: s, password: rand.Text(), console: &record{}, output: &record{}, ended: make(chan struct{})}
	run := s.run(v.password)
	run.Publish = []machine.Forward{{GuestPort: 6379}}
	run.Console, run.Stdout, run.Stderr = v.console, v.output, v.output
	run.Host = func(_ context.Context, spec *machine.Spec) error {
		spec.Tap = func(c net.Conn) net.Conn { v.wire = &tap{Conn: c, replies: make(chan api.Event, 256)}; return v.wire }
		return nil
	}
	change(&run)
	if err := v.live(ctx, run); err != nil {
		return nil, errors.Join(err, v.end())
	}
	return v, nil
}

// live has the machine run, and waits until its workload answers.
func (v *victim) live(ctx context.Context, run wiring.Run) error {
	started := make(chan *wiring.Running, 1)
	run.Started = func(m *wiring.Running) { started <- m }
	var life context.Context
	life, v.stop = context.WithCancel(context.WithoutCancel(ctx)) // others attack it later
	go func() {
		defer close(v.ended)
		result, err := v.installation.Run(life, run)
		if err == nil && result.Outcome.Exit == nil {
			err = errors.New(result.Outcome.String())
		}
		v.err = err
	}()
	select {
	case m := <-started:
		v.address = fmt.Sprintf("%s:%d", m.Ports[0].HostIP, m.Ports[0].HostPort)
		return v.alive(ctx)
	case <-v.ended:
		return errors.New("the machine ended before its workload ran")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end stops the machine and removes what it had.
func (v *victim) end() error {
	v.stop()
	<-v.ended
	return errors.Join(v.err, v.close())
}

// alive asks Redis for a sign, with the password that only the machine was
// given.
func (v *victim) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		answer, err := v.redis(ctx, "PING")
		if err == nil && answer == "+PONG" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis does not answer: %q, %w", answer, errors.Join(err, ctx.Err()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// redis gives one inline command and returns the first line of its answer.
func (v *victim) redis(ctx context.Context, command string) (string, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", v.address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "AUTH "+v.password+"\r\n"+command+"\r\n"); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(c)
	if lines.Scan() && lines.Text() == "+OK" && lines.Scan() {
		return lines.Text(), nil
	}
	return lines.Text(), errors.Join(errors.New("redis gave no answer"), lines.Err())
}

// A tap is the host's end of a control channel: an attacker writes to it what
// the host would not, and sees all replies.
type tap struct {
	net.Conn
	rest    []byte // of a line; of the reader
	replies chan api.Event
}

// Read passes on what the machine says.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.rest = append(t.rest, p[:n]...)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return n, err
		}
		t.rest = rest
		var e api.Event
		if json.Unmarshal(line, &e) == nil && e.Event == api.EventReply {
			select {
			case t.replies <- e:
			default: // nobody waits for that many
			}
		}
	}
}

// say writes raw bytes and returns the next reply.
func (t *tap) say(ctx context.Context, raw []byte) (api.Event, error) {
	for len(t.replies) > 0 {
		<-t.replies
	}
	_ = t.SetWriteDeadline(time.Now().Add(30 * time.Second))
	if _, err := t.Write(raw); err != nil {
		return api.Event{}, err
	}
	return t.next(ctx)
}

func (t *tap) next(ctx context.Context) (api.Event, error) {
	select {
	case e := <-t.replies:
		return e, nil
	case <-time.After(30 * time.Second):
		return api.Event{}, errors.New("the machine did not reply in half a minute")
	case <-ctx.Done():
		return api.Event{}, ctx.Err()
	}
}

// maxKept is more than a machine of the lab says.
const maxKept = 4 << 20

// A record keeps what is written to it.
type record struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.text.Len() < maxKept {
		r.text.Write(p)
	}
	return len(p), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// awaitLine returns the first line that says words after the first skip bytes.
func (r *record) awaitLine(ctx context.Context, skip int, words string) (string, error) {
	for {
		for line := range strings.Lines(r.String()[skip:]) {
			if strings.Contains(line, words) && strings.HasSuffix(line, "\n") {
				return strings.TrimSpace(line), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
