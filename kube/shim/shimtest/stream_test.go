package shimtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"time"

	"golang.org/x/net/websocket"
)

// The channels of a stream (k8s.io/apimachinery, remotecommand constants).
const (
	channelIn     = 0
	channelOut    = 1
	channelStatus = 3
	channelSize   = 4
)

// A stream is a connection to containerd's streaming server, as kubectl has one by way of
// the API server and the kubelet.
type stream struct {
	*lab
	conn *websocket.Conn
	got  [5]bytes.Buffer // by channel
}

func (l *lab) dial(at, protocol string) *stream {
	l.Helper()
	u, err := url.Parse(at)
	l.check(err)
	u.Scheme = "ws"
	config, err := websocket.NewConfig(u.String(), "http://127.0.0.1")
	l.check(err)
	config.Protocol = []string{protocol}
	conn, err := config.DialContext(l.Context())
	l.check(err)
	l.Cleanup(func() { _ = conn.Close() })
	return &stream{lab: l, conn: conn}
}

func (s *stream) send(channel byte, data []byte) {
	s.Helper()
	s.check(websocket.Message.Send(s.conn, append([]byte{channel}, data...)))
}

func (s *stream) resize(width, height int) {
	s.Helper()
	raw, err := json.Marshal(map[string]int{"Width": width, "Height": height})
	s.check(err)
	s.send(channelSize, raw)
}

// until reads until a channel has some words, or the stream ends.
func (s *stream) until(channel byte, words string) {
	s.Helper()
	s.check(s.conn.SetReadDeadline(time.Now().Add(30 * time.Second)))
	for !bytes.Contains(s.got[channel].Bytes(), []byte(words)) {
		var frame []byte
		if err := websocket.Message.Receive(s.conn, &frame); err != nil {
			if err != io.EOF || words != "" {
				s.Fatalf("waiting for %q: %v; got %q, %q, %q", words, err, s.got[1].String(), s.got[2].String(), s.got[3].String())
			}
			return
		}
		if len(frame) > 0 && int(frame[0]) < len(s.got) {
			s.got[frame[0]].Write(frame[1:])
		}
	}
}
