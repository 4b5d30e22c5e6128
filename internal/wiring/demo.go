package wiring

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/broker/admin"
	"holdfast/internal/image/transport"
	"holdfast/internal/machine"
	"holdfast/internal/progress"
)

// A Demo runs the whole chain with Redis as the workload, and then once more
// after an attacker changed one byte.
type Demo struct {
	Builder
	Guest, Redis string // recipe folders
	Accel        machine.Accel
	Say          func(format string, args ...any) // a line for the reader
}

// A DemoResult is what both runs came to.
type DemoResult struct {
	Good     *Report  `json:"good"`
	Talk     []string `json:"talk"` // what was asked of Redis, and its answers
	Bad      *Report  `json:"bad"`
	Refusal  string   `json:"refusal"`
	Endpoint string   `json:"endpoint"`
}

const redisPort = 6379

// Demonstrate runs d. An error means that the chain did not hold as it
// should, in either direction.
func (i Installation) Demonstrate(ctx context.Context, d Demo) (_ *DemoResult, err error) {
	d.Progress = progress.Or(d.Progress)
	unlock, err := tryLock(i.Lock("demo"))
	if err != nil {
		return nil, fmt.Errorf("a demo is under way: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	ring, err := i.Ring(ctx)
	if err != nil {
		return nil, err
	}
	broker, err := i.Admin(ring)
	if err != nil {
		return nil, err
	}
	d.Say("1. Compose Redis from locked Debian packages, and encrypt it for a key that only the broker has.")
	e, err := d.compose(ctx, broker)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, forget(context.WithoutCancel(ctx), broker, e.Keys)) }()
	d.Say("   %s, opens with %s", e.Digest, e.Keys[0])

	d.Say("2. Boot a machine with Secure Boot and a TPM. It proves itself, gets the key, and runs Redis.")
	result := &DemoResult{}
	run := d.run(e.Reference)
	if err := d.good(ctx, run, result); err != nil {
		return nil, err
	}
	d.Say("3. The same again, but somebody flips one byte of the image in the registry.")
	run = d.run(e.Reference)
	run.Attack = FlipLayerByte
	return result, d.bad(ctx, run, result)
}

// compose builds Redis and encrypts it under a new key.
func (d Demo) compose(ctx context.Context, broker *admin.Client) (*Encrypted, error) {
	dir := filepath.Join(d.Installation.dir, "demo")
	plain := filepath.Join(dir, "redis")
	err := d.Fresh(ctx, d.Redis, func(l LockedRecipe) error {
		_, err := d.OCI(ctx, l, plain)
		return err
	})
	if err != nil {
		return nil, err
	}
	return Encrypt(ctx, broker, Encryption{
		Source: transport.LayoutRef(plain, ""), Target: transport.LayoutRef(filepath.Join(dir, "redis-encrypted"), "demo"),
		Recipients: []string{"kbs"}, Options: transport.Options{Progress: d.Progress},
	})
}

func (d Demo) run(image string) Run {
	return Run{
		Builder: d.Builder, Image: image, Name: "demo", Guest: d.Guest, Accel: d.Accel,
		Publish: []machine.Forward{{GuestPort: redisPort}},
		Stdout:  io.Discard, Stderr: io.Discard,
	}
}

// good runs the chain as it should be, and talks to Redis.
func (d Demo) good(ctx context.Context, run Run, result *DemoResult) error {
	password := rand.Text()
	run.Secrets = []Secret{{Name: "redis.conf", Value: []byte("requirepass " + password + "\n")}}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	talked := make(chan error, 1)
	run.Started = func(r *Running) {
		result.Endpoint = fmt.Sprintf("%s:%d", r.Ports[0].HostIP, r.Ports[0].HostPort)
		go func() {
			var err error
			result.Talk, err = talkRedis(ctx, result.Endpoint, password)
			talked <- err
			stop()
		}()
	}
	r, err := d.Installation.Run(ctx, run)
	if err != nil {
		return err
	}
	result.Good = r.Report
	select {
	case err := <-talked:
		return err
	default:
		return fmt.Errorf("the workload never ran: %s", r.Outcome)
	}
}

// bad runs the chain after an attack, which must be refused.
func (d Demo) bad(ctx context.Context, run Run, result *DemoResult) error {
	r, err := d.Installation.Run(ctx, run)
	if err != nil {
		return err
	}
	result.Bad, result.Refusal = r.Report, r.Outcome.String()
	if r.Outcome.Reason != machine.Refused {
		return fmt.Errorf("the altered image was not refused: %s", r.Outcome)
	}
	return nil
}

// talkRedis asks without the password, and then with it.
func talkRedis(ctx context.Context, addr, password string) ([]string, error) {
	conn, err := dialRedis(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	var talk []string
	for _, step := range []struct{ ask, shown, want string }{
		{"PING", "", "-NOAUTH"},
		{"AUTH " + password, "AUTH ****", "+OK"},
		{"PING", "", "+PONG"},
		{"SET chain holds", "", "+OK"},
		{"GET chain", "", "holds"},
	} {
		answer, err := ask(conn, answers, step.ask)
		if err != nil {
			return talk, fmt.Errorf("redis: %s: %w", or(step.shown, step.ask), err)
		}
		talk = append(talk, or(step.shown, step.ask)+" → "+answer)
		if !strings.HasPrefix(answer, step.want) {
			return talk, fmt.Errorf("redis: %s: answer %q, want %s", or(step.shown, step.ask), answer, step.want)
		}
	}
	return talk, nil
}

// dialRedis waits until Redis answers: QEMU takes connections before it does.
func dialRedis(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err = ask(conn, bufio.NewReader(conn), "PING"); err == nil {
				return conn, nil
			}
			_ = conn.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("redis at %s does not answer: %w", addr, errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// ask sends an inline command (https://redis.io/docs/latest/develop/reference/protocol-spec)
// and reads a simple answer or a bulk string.
func ask(w io.Writer, r *bufio.Reader, command string) (string, error) {
	if _, err := io.WriteString(w, command+"\r\n"); err != nil {
		return "", err
	}
	line, err := r.ReadString('\n')
	if err == nil && strings.HasPrefix(line, "$") {
		line, err = r.ReadString('\n')
	}
	return strings.TrimSpace(line), err
}
