package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxMonitorLine bounds what QEMU says at once.
const maxMonitorLine = 1 << 20

var errMonitorClosed = errors.New("QEMU closed its monitor")

// A monitor speaks QMP (QEMU docs/interop/qmp-spec.txt) to one QEMU.
type monitor struct {
	conn    net.Conn
	mu      sync.Mutex   // one command at a time
	last    uint64       // the latest command's ID; guarded by mu
	replies chan message // closed when QEMU is gone
	gone    chan struct{}
	halted  func()
	reset   atomic.Bool // the guest asked for a reset
}

// A message is anything that QEMU sends: greeting, reply or event.
type message struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// startMonitor follows what QEMU says until it is gone. A QEMU that halts the
// guest, as after an internal error of KVM, would wait for a person: halted
// is to end it.
func startMonitor(conn net.Conn, halted func()) *monitor {
	m := &monitor{conn: conn, halted: halted, replies: make(chan message, 1), gone: make(chan struct{})}
	go m.read()
	return m
}

func (m *monitor) read() {
	defer close(m.gone)
	defer close(m.replies)
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, maxMonitorLine)
	for lines.Scan() {
		var msg message
		if json.Unmarshal(lines.Bytes(), &msg) != nil {
			return
		}
		switch {
		case msg.Event == "SHUTDOWN" && msg.Data.Reason == "guest-reset":
			m.reset.Store(true)
		case msg.Event == "STOP":
			m.halted()
		case msg.Return != nil || msg.Error != nil:
			select {
			case m.replies <- msg:
			default: // nobody waits for that many
			}
		}
	}
}

// A command is one of QMP's, as sent.
type command struct {
	Execute   string `json:"execute"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// execute sends a command and returns what QEMU answers.
func (m *monitor) execute(ctx context.Context, name string, arguments any) (json.RawMessage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	line, err := json.Marshal(command{name, arguments, m.last})
	if err != nil {
		return nil, err
	}
	if err := m.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(append(line, '\n')); err != nil {
		return nil, errMonitorClosed
	}
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("QEMU command %s: %w", name, ctx.Err())
		case msg, ok := <-m.replies:
			if !ok {
				return nil, errMonitorClosed
			}
			if msg.ID != m.last { // to a command that was given up
				continue
			}
			if msg.Error != nil {
				return nil, fmt.Errorf("QEMU command %s: %s", name, msg.Error.Desc)
			}
			return msg.Return, nil
		}
	}
}

// human runs a command that exists only for people, and returns its text.
func (m *monitor) human(ctx context.Context, command string) (string, error) {
	raw, err := m.execute(ctx, "human-monitor-command", map[string]string{"command-line": command})
	if err != nil {
		return "", err
	}
	var text string
	return text, json.Unmarshal(raw, &text)
}
