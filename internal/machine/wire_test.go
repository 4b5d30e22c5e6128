package machine

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A replay is a connection whose peer has said all it ever says.
type replay struct {
	net.Conn // nothing else is used
	io.Reader
}

func (r replay) Read(p []byte) (int, error)       { return r.Reader.Read(p) }
func (r replay) Write(p []byte) (int, error)      { return len(p), nil }
func (r replay) Close() error                     { return nil }
func (r replay) SetWriteDeadline(time.Time) error { return nil }

func TestBadFramesEndTheCopyWithAReason(t *testing.T) {
	for data, want := range map[string]string{
		"\x01\x00\x01\x00\x01":                      "frame of 65537 bytes",
		"\x00\x00\x00\x00\x01x":                     "stream 0",
		"\x01\x00\x00\x00\x00\x01\x00\x00\x00\x01x": "stream 1",
		"\x01\x00\x00\x00\x05abc":                   "unexpected EOF",
		"\x01\x00":                                  "unexpected EOF",
	} {
		s := newStdio(replay{Reader: strings.NewReader(data)})
		if err := s.Copy(io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", data, err, want)
		}
	}
}

func TestMarkerFindsTextSplitBetweenWrites(t *testing.T) {
	m := NewMarker("ready now")
	start := time.Now()
	for _, part := range []string{"not ready", "xx rea", "dy n", "ow, and more"} {
		if m.After(start) != 0 {
			t.Fatalf("seen before %q", part)
		}
		_, _ = io.WriteString(m, part)
	}
	select {
	case <-m.Seen():
	default:
		t.Fatal("not seen")
	}
}

func TestSpecMistakesAreNamed(t *testing.T) {
	kernel := &Kernel{Image: "vmlinuz"}
	for want, spec := range map[string]Spec{
		"no folder":                   {Kernel: kernel},
		"either firmware or a kernel": {Folder: "x"},
		"no disk":                     {Folder: "x", Firmware: &Firmware{}},
		"at least 64":                 {Folder: "x", Kernel: kernel, Memory: 5},
		`accelerator "hvf"`:           {Folder: "x", Kernel: kernel, Accel: "hvf"},
		`protocol "sctp"`:             {Folder: "x", Kernel: kernel, Ports: []Forward{{GuestPort: 1, Proto: "sctp"}}},
		"port 0":                      {Folder: "x", Kernel: kernel, Ports: []Forward{{}}},
	} {
		if _, err := spec.Complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
