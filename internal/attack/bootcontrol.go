package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"holdfast/internal/api"
)

const (
	onlyListed = "the host may ask a machine for what the measured configuration lists, and nothing else"
	fenced     = "a workload does not reach its host"
)

// victimControl shows that the machine answers what is allowed.
var victimControl = Control{"an honest machine runs its workload, and answers on its control channel", func(ctx context.Context, l *Lab) error {
	v, err := l.victim(ctx)
	if err != nil {
		return err
	}
	return v.answers(ctx)
}}

func (v *victim) answers(ctx context.Context) error {
	reply, err := v.wire.say(ctx, []byte(`{"id":4000000001,"call":"status"}`+"\n"))
	if err == nil && (reply.Error != "" || reply.ID != 4000000001) {
		err = fmt.Errorf("status: got reply %+v", reply)
	}
	return errors.Join(err, v.alive(ctx))
}

func controlAttacks() []Attack {
	forbidden := Refusal{Node, "is not allowed by the measured configuration"}
	return []Attack{
		onVictim("call-unknown", onlyListed, "the host asks for calls that there are not: exec, shell, read, debug, reboot", forbidden, func(ctx context.Context, v *victim) (Refusal, error) {
			return v.forbidden(ctx, "exec", "shell", "read", "debug", "reboot", "")
		}),
		onVictim("call-unlisted", onlyListed, "the host asks to write to the workload's input, which the configuration does not list", forbidden, func(ctx context.Context, v *victim) (Refusal, error) {
			return v.forbidden(ctx, api.CallStdin)
		}),
		onVictim("call-malformed", "what is no call does nothing, and ends nothing", "the host sends lines that are no calls: other types, more keys, two values, bytes",
			Refusal{Node, "not a call"}, malformed),
		onVictim("call-oversized", "a line that is too long is not kept in memory", "the host sends a line of a mebibyte",
			Refusal{Node, "a call has at most 65536 bytes"}, oversized),
		onVictim("call-flood", "a host that asks for ever neither stops the workload nor fills the console", "the host makes two thousand forbidden calls at once",
			forbidden, flood),
		onVictim("host-reached", fenced, "the workload connects to a port of its host's loopback, through the gateway",
			Refusal{Guest, "Operation not permitted"}, reachHost),
	}
}

// onVictim is an attack on the machine that runs. It must go on afterwards.
func onVictim(name, promise, change string, want Refusal, run func(context.Context, *victim) (Refusal, error)) Attack {
	return Attack{
		Name: name, Group: "control", Promise: promise, Change: change, Boots: true, Want: want, Control: victimControl,
		Run: func(ctx context.Context, l *Lab) (Refusal, error) {
			v, err := l.victim(ctx)
			if err != nil {
				return Refusal{}, err
			}
			v.turn.Lock()
			defer v.turn.Unlock()
			refusal, err := run(ctx, v)
			if after := v.answers(ctx); err == nil && after != nil {
				return Broke("the machine did not survive it: %v", after), nil
			}
			return refusal, err
		},
	}
}

// forbidden makes calls, each of which must be refused, and recorded by the
// machine.
func (v *victim) forbidden(ctx context.Context, calls ...string) (refusal Refusal, err error) {
	for i, call := range calls {
		skip := len(v.console.String())
		reply, err := v.wire.say(ctx, fmt.Appendf(nil, `{"id":%d,"call":%q}`+"\n", 4000000100+i, call))
		if err != nil {
			return Refusal{}, err
		}
		if reply.Error == "" {
			return Broke("call %q was answered: %s", call, reply.Detail), nil
		}
		if err := v.recorded(ctx, skip, reply.Error); err != nil {
			return Refusal{}, err
		}
		refusal = Refusal{Node, reply.Error}
	}
	return refusal, nil
}

// recorded waits until the machine has written a refusal to its console.
func (v *victim) recorded(ctx context.Context, skip int, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if _, err := v.console.awaitLine(ctx, skip, "holdfast: control: refused: "+reason); err != nil {
		return fmt.Errorf("the machine did not record that it refused: %s: %w", reason, err)
	}
	return nil
}

func malformed(ctx context.Context, v *victim) (refusal Refusal, err error) {
	lines := []string{
		"hello", "{}{}", "[]", "null null", `"stop"`, `{"id":-1,"call":"stop"}`, `{"id":1,"call":["stop"]}`,
		`{"id":1,"call":"stop","evil":true}`, `{"id":1,"call":"stop"} {"id":2,"call":"stop"}`,
		strings.Repeat("[", 60000), "\x00\x01\x02\xff\xfe", `{"id":1e999,"call":"stop"}`,
	}
	for _, line := range lines {
		reply, err := v.wire.say(ctx, []byte(line+"\n"))
		if err != nil {
			return Refusal{}, err
		}
		if reply.Error == "" {
			return Broke("line %.40q was answered: %s", line, reply.Detail), nil
		}
		if refusal == (Refusal{}) || !strings.Contains(reply.Error, "not a call") {
			refusal = Refusal{Node, reply.Error}
		}
	}
	return refusal, nil
}

func oversized(ctx context.Context, v *victim) (Refusal, error) {
	line := append(bytes.Repeat([]byte("x"), 1<<20), '\n')
	reply, err := v.wire.say(ctx, line)
	if err != nil || reply.Error == "" {
		return Broke("it was answered: %s", reply.Detail), err
	}
	return Refusal{Node, reply.Error}, nil
}

func flood(ctx context.Context, v *victim) (Refusal, error) {
	const calls = 2000
	skip := len(v.console.String())
	reply, err := v.wire.say(ctx, bytes.Repeat([]byte(`{"id":4000000200,"call":"exec"}`+"\n"), calls))
	for i := 1; i < calls && err == nil && reply.Error != ""; i++ {
		reply, err = v.wire.next(ctx)
	}
	if err != nil || reply.Error == "" {
		return Broke("a call of the flood was answered: %s", reply.Detail), err
	}
	const most = 32 << 10
	if said := len(v.console.String()) - skip; said > most {
		return Broke("the flood put %d bytes on the console", said), nil
	}
	return Refusal{Node, reply.Error}, nil
}

// reachHost makes the workload the replica of a primary on its host.
func reachHost(ctx context.Context, v *victim) (Refusal, error) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Refusal{}, err
	}
	defer host.Close()
	reached := make(chan net.Addr, 1)
	go func() {
		if c, err := host.Accept(); err == nil {
			reached <- c.RemoteAddr()
			_ = c.Close()
		}
	}()
	skip := len(v.output.String())
	answer, err := v.redis(ctx, fmt.Sprintf("REPLICAOF 10.0.2.2 %d", host.Addr().(*net.TCPAddr).Port))
	if err != nil || answer != "+OK" {
		return Refusal{}, fmt.Errorf("redis: REPLICAOF: %q: %w", answer, errors.Join(err))
	}
	defer v.redis(ctx, "REPLICAOF NO ONE")
	tried, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	said, err := v.output.awaitLine(tried, skip, "Operation not permitted")
	select {
	case from := <-reached:
		return Broke("the host was reached from %s", from), nil
	default:
	}
	if err != nil {
		return Refusal{}, fmt.Errorf("redis did not say that it was refused: %w: %s", err, v.output.String()[skip:])
	}
	return Refusal{Guest, said}, nil
}
