package pod

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/machine"
)

// A played machine stands where no hypervisor runs: the test answers its calls.
type played struct {
	console                *io.PipeReader
	control, stdio         net.Conn
	farConsole             *io.PipeWriter
	farControl, farStreams net.Conn
	gone                   chan struct{}
}

func (p *played) Console() io.Reader              { return p.console }
func (p *played) Control() net.Conn               { return p.control }
func (p *played) Stdio() net.Conn                 { return p.stdio }
func (p *played) PowerDown(context.Context) error { return nil }
func (p *played) Wait() machine.Exited            { <-p.gone; return machine.Exited{} }
func (p *played) Close() error                    { return nil }

func (p *played) Kill() {
	_, _, _ = p.farConsole.Close(), p.farControl.Close(), p.farStreams.Close()
	select {
	case <-p.gone:
	default:
		close(p.gone)
	}
}

// play answers each call with what reply says, and then does what that returns.
func play(t *testing.T, reply func(api.Call) (detail any, then func(p *played), err error)) *Pod {
	t.Helper()
	p := &played{gone: make(chan struct{})}
	p.console, p.farConsole = io.Pipe()
	p.control, p.farControl = net.Pipe()
	p.stdio, p.farStreams = net.Pipe()
	m, err := machine.Watch(machine.Spec{Name: "played", Folder: t.TempDir()}, p, time.Now(), machine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pod := follow(m, nil, nil)
	t.Cleanup(func() { m.Kill(); pod.work.Wait() })
	go func() {
		lines := bufio.NewScanner(p.farControl)
		for lines.Scan() {
			var c api.Call
			if json.Unmarshal(lines.Bytes(), &c) != nil {
				return
			}
			detail, then, err := reply(c)
			e := api.Event{ID: c.ID, Event: api.EventReply}
			if err != nil {
				e.Error = err.Error()
			}
			if detail != nil {
				e.Detail, _ = json.Marshal(detail)
			}
			_ = json.NewEncoder(p.farControl).Encode(e)
			if then != nil {
				then(p)
			}
		}
	}()
	return pod
}

// An output keeps what is written, until it ends.
type output struct {
	bytes.Buffer
	ended chan struct{}
}

func (o *output) Close() error { close(o.ended); return nil }

// A command's streams and end are its own, and not its container's.
func TestACommandEndsForWhoAskedForIt(t *testing.T) {
	p := play(t, func(c api.Call) (any, func(*played), error) {
		switch c.Call {
		case api.CallCreate:
			return api.CreateDetail{First: 0, Message: "/words"}, nil, nil
		case api.CallExec:
			if !strings.Contains(string(c.Params), `"args":["ping"]`) {
				return nil, nil, errors.New("command is not in the measured configuration")
			}
			return api.ExecDetail{Exec: 9, First: 4}, nil, nil
		case api.CallStart:
			if !strings.Contains(string(c.Params), `"exec":9`) {
				return nil, nil, nil
			}
			return nil, func(p *played) {
				_, _ = io.WriteString(p.farStreams, "\x05\x00\x00\x00\x04pong"+"\x05\x00\x00\x00\x00"+"\x06\x00\x00\x00\x00")
				detail, _ := json.Marshal(api.ContainerExit{ContainerParams: api.ContainerParams{Container: "app", Exec: 9}, ExitDetail: api.ExitDetail{Code: 3}})
				_ = json.NewEncoder(p.farControl).Encode(api.Event{Event: api.EventContainerExited, Detail: detail})
			}, nil
		}
		return nil, nil, nil
	})
	app, err := p.Create(t.Context(), api.CreateParams{Container: "app"})
	if err != nil || app.Message() != "/words" {
		t.Fatalf("got %+v, %v", app, err)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Exec(t.Context(), []string{"sh"}, false, false); err == nil || !strings.Contains(err.Error(), "not in the measured configuration") {
		t.Errorf("another command: got %v, want the machine's words", err)
	}
	e, err := app.Exec(t.Context(), []string{"ping"}, false, false)
	if err != nil {
		t.Fatal(err)
	}
	out, errs := &output{ended: make(chan struct{})}, &output{ended: make(chan struct{})}
	e.Output(out, errs)
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit := e.Wait()
	<-out.ended
	<-errs.ended
	if exit.Code != 3 || exit.Exec != 9 || out.String() != "pong" {
		t.Errorf("got %+v and %q, want code 3 and pong", exit, out.String())
	}
	select {
	case x := <-app.exit:
		t.Errorf("its container ended with it: %+v", x)
	default:
	}
	idle, err := app.Exec(t.Context(), []string{"ping"}, false, false)
	if err != nil {
		t.Fatal(err)
	}
	never, other := &output{ended: make(chan struct{})}, &output{ended: make(chan struct{})}
	idle.Output(never, other)
	if err := idle.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-never.ended // though nothing wrote
	<-other.ended
}
