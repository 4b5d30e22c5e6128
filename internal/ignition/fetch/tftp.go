package fetch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Packets of TFTP (RFC 1350, section 5; RFC 2347 for OACK).
const (
	opRead  = 1
	opData  = 3
	opAck   = 4
	opError = 5
	opOack  = 6
)

const (
	plainBlock   = 512  // RFC 1350
	askedBlock   = 1428 // RFC 2348: what fits into a frame with tunnels around it
	tftpAttempts = 6
	tftpWait     = 2 * time.Second // for a packet, before ours is sent again
)

// A packet is one that a server sends.
type packet struct {
	op      uint16
	block   uint16
	data    []byte
	options map[string]string
}

// A tftpError is what the server says (RFC 1350, appendix I).
type tftpError struct {
	code    uint16
	message string
}

func (e *tftpError) Error() string {
	return fmt.Sprintf("the server says %d: %.100q", e.code, e.message)
}

func (e *tftpError) Is(target error) bool { return target == ErrNotFound && e.code == 1 }

var errPacket = errors.New("the server sends what is no TFTP packet")

func parsePacket(b []byte) (packet, error) {
	if len(b) < 2 {
		return packet{}, errPacket
	}
	p := packet{op: binary.BigEndian.Uint16(b)}
	b = b[2:]
	switch {
	case p.op == opData && len(b) >= 2:
		p.block, p.data = binary.BigEndian.Uint16(b), b[2:]
	case p.op == opError && len(b) >= 2:
		text, _, _ := bytes.Cut(b[2:], []byte{0})
		return p, &tftpError{binary.BigEndian.Uint16(b), string(text)}
	case p.op == opOack:
		return p, p.parseOptions(b)
	default:
		return p, errPacket
	}
	return p, nil
}

func (p *packet) parseOptions(b []byte) error {
	p.options = map[string]string{}
	words := strings.Split(string(b), "\x00")
	if len(words)%2 == 0 || words[len(words)-1] != "" {
		return errPacket
	}
	for i := 0; i+1 < len(words); i += 2 {
		p.options[strings.ToLower(words[i])] = words[i+1]
	}
	return nil
}

func readRequest(path string) []byte {
	b := []byte{0, opRead}
	for _, word := range []string{path, "octet", "blksize", strconv.Itoa(askedBlock)} {
		b = append(append(b, word...), 0)
	}
	return b
}

func ack(block uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0, opAck}, block) }

func (f *Fetcher) tftp(ctx context.Context, u *url.URL, sink *sink) error {
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "69")
	}
	if strings.ContainsRune(u.Path, 0) || u.Path == "" {
		return errors.New("want tftp://HOST/FILE")
	}
	server, err := net.ResolveUDPAddr("udp", host)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	t := &transfer{ctx: ctx, conn: conn, peer: server, size: plainBlock, buffer: make([]byte, 65536)}
	if err := t.begin(u.Path); err != nil {
		return t.told(err)
	}
	return t.told(sink.body(t))
}

// A transfer reads one file, block by block.
type transfer struct {
	ctx    context.Context
	conn   *net.UDPConn
	peer   *net.UDPAddr // with the port of the server's answers once it has given one
	known  bool         // that port
	size   int          // of a whole block
	block  uint16       // that came last
	rest   []byte
	done   bool
	buffer []byte
}

// told tells a deadline, not the socket that it closed.
func (t *transfer) told(err error) error {
	if err != nil && t.ctx.Err() != nil {
		return context.Cause(t.ctx)
	}
	return err
}

func (t *transfer) begin(path string) error {
	p, err := t.exchange(readRequest(path))
	if err != nil {
		return err
	}
	if p.op == opData { // a server without options
		return t.take(p)
	}
	if word, ok := p.options["blksize"]; ok {
		n, err := strconv.Atoi(word)
		if err != nil || n < 8 || n > askedBlock {
			return fmt.Errorf("the server takes blocks of %.20q bytes, want at most %d", word, askedBlock)
		}
		t.size = n
	}
	if p, err = t.exchange(ack(0)); err != nil {
		return err
	}
	return t.take(p)
}

func (t *transfer) take(p packet) error {
	if len(p.data) > t.size {
		return errPacket
	}
	t.block, t.rest, t.done = p.block, p.data, len(p.data) < t.size
	if t.done {
		_, err := t.conn.WriteToUDP(ack(t.block), t.peer)
		return err
	}
	return nil
}

func (t *transfer) Read(b []byte) (int, error) {
	for len(t.rest) == 0 {
		if t.done {
			return 0, io.EOF
		}
		p, err := t.exchange(ack(t.block))
		if err != nil {
			return 0, err
		}
		if err := t.take(p); err != nil {
			return 0, err
		}
	}
	n := copy(b, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// exchange sends a packet until the one that answers it comes.
func (t *transfer) exchange(out []byte) (packet, error) {
	for range tftpAttempts {
		if _, err := t.conn.WriteToUDP(out, t.peer); err != nil {
			return packet{}, err
		}
		p, err := t.receive()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		return p, err
	}
	return packet{}, fmt.Errorf("no answer to %d packets", tftpAttempts)
}

// receive waits for the next block, or for options in answer to the request.
func (t *transfer) receive() (packet, error) {
	if err := t.conn.SetReadDeadline(time.Now().Add(tftpWait)); err != nil {
		return packet{}, err
	}
	for {
		n, from, err := t.conn.ReadFromUDP(t.buffer)
		if err != nil {
			return packet{}, err
		}
		if !from.IP.Equal(t.peer.IP) || t.known && from.Port != t.peer.Port {
			continue // of a stranger (RFC 1350, section 4)
		}
		p, err := parsePacket(t.buffer[:n])
		if err != nil {
			return p, err
		}
		first := !t.known
		t.peer, t.known = from, true
		if p.op == opData && p.block == t.block+1 || p.op == opOack && first {
			return p, nil
		}
	}
}
