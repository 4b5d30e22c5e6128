package node

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"holdfast/internal/api"
)

func TestOutputIsFramedAndClosed(t *testing.T) {
	var port bytes.Buffer
	f := &frames{w: &port}
	f.copy(api.StreamStdout, strings.NewReader("hi"))
	f.copy(api.StreamStderr, strings.NewReader(""))
	want := "\x01\x00\x00\x00\x02hi" + "\x01\x00\x00\x00\x00" + "\x02\x00\x00\x00\x00"
	if port.String() != want {
		t.Errorf("got %q, want %q", port.String(), want)
	}
}

func TestInputReachesTheWorkloadUntilItIsClosed(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	port := strings.NewReader("\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x01d\x00\x00\x00\x00\x00rest")
	if err := feed(port, w); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "abcd" {
		t.Errorf("got %q, %v, want abcd", got, err)
	}
}

func TestHostMayNotWriteOutputNorHugeFrames(t *testing.T) {
	for name, frame := range map[string]string{
		"frame of stream 1":           "\x01\x00\x00\x00\x01x",
		"frame of 4294967295 bytes":   "\x00\xff\xff\xff\xff",
		"unexpected EOF":              "\x00\x00\x00\x00\x05ab",
		"frame of stream 255: want 0": "\xff\x00\x00\x00\x00",
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := feed(strings.NewReader(frame), w); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
		if got, _ := io.ReadAll(r); len(got) > 0 {
			t.Errorf("%s: the workload read %q", name, got)
		}
	}
}
