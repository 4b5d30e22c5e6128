package service

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"golang.org/x/sys/unix"
)

// A slow container gets input as its pipe's end is reached, not before.
type slow struct {
	bytes.Buffer
	begin, ended chan struct{}
}

func (s *slow) Write(b []byte) (int, error) { <-s.begin; return s.Buffer.Write(b) }
func (s *slow) Close() error                { close(s.ended); return nil }

// kubectl cp writes a file, closes the pipe, and then says that there is no more.
func TestInputIsNotCutByTheCallThatClosesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openStreams(t.Context(), &taskapi.CreateTaskRequest{Stdin: path})
	if err != nil {
		t.Fatal(err)
	}
	to := &slow{begin: make(chan struct{}), ended: make(chan struct{})}
	s.feed(to)
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 50_000)
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	in := tasks{newService(t.Context(), "", nil, nil)}
	in.tasks[name{"c", "e"}] = &task{streams: s}
	if _, err := in.CloseIO(t.Context(), &taskapi.CloseIORequest{ID: "c", ExecID: "e", Stdin: true}); err != nil {
		t.Fatal(err)
	}
	close(to.begin)
	<-to.ended
	if got, _ := io.ReadAll(&to.Buffer); !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
	s.close()
}
