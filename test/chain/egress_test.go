package chain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// The workload is a replica whose primary is said to be on its host.
func TestAWorkloadDoesNotReachItsHost(t *testing.T) {
	b := needs(t)
	t.Parallel()
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	reached := make(chan net.Addr, 1)
	go func() {
		if c, err := host.Accept(); err == nil {
			reached <- c.RemoteAddr()
			_ = c.Close()
		}
	}()

	said, refused := new(bytes.Buffer), machine.NewMarker("Operation not permitted")
	r := b.run(t, io.MultiWriter(said, refused))
	r.Args = []string{"--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
		"--replicaof", "10.0.2.2", fmt.Sprint(host.Addr().(*net.TCPAddr).Port)}
	r.Publish = []machine.Forward{{GuestPort: 6379}}
	answered := make(chan error, 1)
	r.Started = func(m *wiring.Running) {
		go func() { answered <- pingAndEnd(m.Ports[0], refused.Seen()) }()
	}
	result := start(t, b, r)
	if o := result.Outcome; o.Exit == nil || o.Exit.Code != 0 {
		t.Fatalf("got %s, want Redis's own end\n%s\n%s", o, said, strings.Join(o.Console, "\n"))
	}
	if err := <-answered; err != nil {
		t.Errorf("published port: %v", err)
	}
	select {
	case <-refused.Seen():
	default:
		t.Errorf("got output %q, want connect(2) refused", said)
	}
	select {
	case from := <-reached:
		t.Errorf("the host was reached from %s", from)
	default:
	}
}

// pingAndEnd asks Redis once it has tried what it must not, and then ends it.
func pingAndEnd(p machine.Forward, tried <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case <-tried:
	case <-ctx.Done(): // the caller sees that it was not
	}
	c, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", p.HostIP, p.HostPort), 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return err
	}
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && answer != "+PONG\r\n" {
		err = fmt.Errorf("got %q, want +PONG", answer)
	}
	_, end := io.WriteString(c, "SHUTDOWN NOSAVE\r\n")
	return errors.Join(err, end)
}
