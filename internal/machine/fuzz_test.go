package machine

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"unicode"

	"holdfast/internal/api"
)

// Nothing that a machine writes on its console can act on a terminal, or pass
// for more than the line it was.
//
//fuzz:parser recognise.go console.go outcome.go
func FuzzConsole(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b[01;01Hdevice-mapper: verity: a: data block 99999999999999999999 is corrupted\r\n"))
	f.Add([]byte("holdfast: refused: \nholdfast: refused: x: y"))
	f.Add([]byte("[    1.0] Kernel panic - not syncing: \u202ex\nBdsDxe: failed to load Boot0001 x: Access Denied\n"))
	f.Add([]byte("BdsDxe: No bootable option or device was found\r\n[ 2.1] device-mapper: verity: 253:0: metadata block 7 is corrupted"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := judgeConsole(data)
		for _, line := range append(o.Console, o.String()) {
			if len(line) > maxConsoleLine+200 || strings.ContainsFunc(line, unicode.IsControl) || strings.ContainsFunc(line, isBidi) {
				t.Errorf("unfit to be shown: %q", line)
			}
		}
		if len(o.Console) > maxConsoleTail {
			t.Errorf("kept %d lines", len(o.Console))
		}
	})
}

// A channel gives the events that the machine sent, in order and whole; what
// is no event ends it.
//
//fuzz:parser control.go:read,parseEvent,deliver,answer
func FuzzControl(f *testing.F) {
	f.Add([]byte(`{"event":"stage","detail":{"name":"root"}}` + "\n" + `{"event":"reply","id":1}` + "\n"))
	f.Add([]byte(`{"event":"exited","detail":{"code":0}}` + "\n" + `{"event":""}` + "\n" + `{"event":"stage"}` + "\n"))
	f.Add(bytes.Repeat([]byte("["), 100))
	f.Add(append(bytes.Repeat([]byte(" "), api.MaxLine), '\n'))
	f.Fuzz(func(t *testing.T, data []byte) {
		var told []string
		c := newControl(replay{Reader: bytes.NewReader(data)}, slog.New(slog.DiscardHandler), func(e api.Event) {
			if e.Event == "" || e.Event == api.EventReply || len(e.Detail) > api.MaxLine {
				t.Errorf("believed %+v", e)
			}
			told = append(told, e.Event)
		})
		reply := make(chan api.Event, 1)
		c.pending[1] = reply
		_ = c.read()
		var delivered []string
		for e := range c.events {
			delivered = append(delivered, e.Event)
		}
		if len(told) <= maxEvents && !slices.Equal(told, delivered) || len(told) > bytes.Count(data, []byte("\n")) {
			t.Errorf("told %q and delivered %q", told, delivered)
		}
		if e, ok := <-reply; ok && (e.ID != 1 || e.Event != api.EventReply) {
			t.Errorf("call 1 got the reply %+v", e)
		}
	})
}

// Output is the payload of frames and nothing else, and what we write the
// machine's end reads: a stream, a length, that many bytes.
//
//fuzz:parser stdio.go:Copy,readFrame,isReset,Write,frame
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x02hi\x02\x00\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Add([]byte("\x01\xff\xff\xff\xff"))
	f.Add([]byte("\x02\x00\x00\x00\x01x\x01\x00\x00\x00\x01y\x03\x00\x00\x00\x01z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out, errs bytes.Buffer
		_ = newStdio(replay{Reader: bytes.NewReader(data)}).Copy(&out, &errs)
		if wantOut, wantErrs := payloads(data); out.String() != wantOut || errs.String() != wantErrs {
			t.Errorf("got %q and %q, want %q and %q", &out, &errs, wantOut, wantErrs)
		}
		var sent capture
		if n, err := (&Stdio{conn: &sent}).Write(data); err != nil || n != len(data) {
			t.Fatalf("wrote %d of %d: %v", n, len(data), err)
		}
		var back []byte
		for r := bytes.NewReader(sent.Bytes()); r.Len() > 0; {
			stream, payload, err := readFrame(r, make([]byte, api.MaxFrame))
			if err != nil || stream != api.StreamStdin {
				t.Fatalf("stream %d, %v", stream, err)
			}
			back = append(back, payload...)
		}
		if !bytes.Equal(back, data) {
			t.Errorf("%q reads back as %q", data, back)
		}
	})
}

// A capture is a connection that keeps what is written.
type capture struct {
	replay
	bytes.Buffer
}

func (c *capture) Write(p []byte) (int, error) { return c.Buffer.Write(p) }
func (c *capture) Read([]byte) (int, error)    { return 0, errors.New("nothing to read") }

// payloads reads output frames as docs/formats/control-channel.md tells.
func payloads(b []byte) (out, errs string) {
	closed := map[byte]bool{}
	for len(b) >= 5 && (b[0] == 1 || b[0] == 2) && !closed[b[0]] && len(closed) < 2 {
		size := int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
		if size > 64<<10 || len(b) < 5+size {
			break
		}
		if b[0] == 1 {
			out += string(b[5 : 5+size])
		} else {
			errs += string(b[5 : 5+size])
		}
		if size == 0 {
			closed[b[0]] = true
		}
		b = b[5+size:]
	}
	return out, errs
}
