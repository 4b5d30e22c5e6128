package service

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// A command's output that nobody reads keeps nobody: hanging up ends who writes it.
func TestHangingUpEndsAWriterThatNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := openStreams(t.Context(), &taskapi.CreateTaskRequest{Stdout: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.stdout.Write(make([]byte, 1<<16)); err != nil { // a pipe's room (pipe(7))
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := s.stdout.Write([]byte("more")); ended <- err }()
	select {
	case err := <-ended:
		t.Fatalf("a full pipe took more: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.hangUp()
	if err := <-ended; err == nil {
		t.Error("a pipe that is closed took more")
	}
	s.close()
}
