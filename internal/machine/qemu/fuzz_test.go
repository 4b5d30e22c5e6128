package qemu

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever QEMU says, a command ends: in the reply to it or in an error.
//
//fuzz:parser monitor.go
func FuzzMonitor(f *testing.F) {
	f.Add([]byte(`{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7}},"capabilities":["oob"]}}` + "\n" + `{"return":{},"id":1}` + "\n"))
	f.Add([]byte(`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}` + "\n" + `{"event":"STOP"}` + "\n" + `{"id":1,"error":{"class":"GenericError","desc":"no"}}` + "\n"))
	f.Add([]byte(`{"return":"a","id":2}` + "\n" + `{"return":"b","id":1}` + "\n"))
	f.Add([]byte("{\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		halted := make(chan struct{}, len(data)+1)
		m := startMonitor(ours, func() { halted <- struct{}{} })
		go func() {
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got, err := m.human(ctx, "info usernet")
		if ctx.Err() != nil {
			t.Fatal("a command never ended")
		}
		if len(got) > len(data) || err == nil && len(data) == 0 {
			t.Errorf("%q is an answer of %q", got, data)
		}
		<-m.gone
		if len(halted) > strings.Count(string(data), "\n")+1 {
			t.Errorf("halted %d times", len(halted))
		}
	})
}

// Ports that are read from QEMU's table stand in it.
//
//fuzz:parser ports.go:parseUsernet,indexForward
func FuzzUsernet(f *testing.F) {
	f.Add("Hub -1 (net0):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n" +
		"  TCP[HOST_FORWARD]  12       127.0.0.1 40123       10.0.2.15  6379     0     0\n  UDP[HOST_FORWARD]  13               * 53       10.0.2.15  53     0     0\n")
	f.Add("TCP[HOST_FORWARD] 1 ::1 65536 x 1 0 0")
	f.Fuzz(func(t *testing.T, text string) {
		all := parseUsernet(text)
		if len(all) > strings.Count(text, "\n")+1 {
			t.Errorf("%d forwards of %q", len(all), text)
		}
		for i, p := range all {
			if !p.HostIP.IsValid() || !strings.Contains(text, "[HOST_FORWARD]") || indexForward(all[i:], p) != 0 {
				t.Errorf("got %+v", p)
			}
		}
	})
}

// What a probe left behind is believed when it is a whole answer.
//
//fuzz:parser accel.go:recall,remember
func FuzzRecall(f *testing.F) {
	f.Add([]byte(`{"key":"a","works":true}`))
	f.Add([]byte(`{"key":1}`))
	f.Add([]byte(`{"key":"a"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := filepath.Join(t.TempDir(), "accel.json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		a := recall(file)
		if err := remember(file, a); err != nil {
			t.Fatal(err)
		}
		if again := recall(file); again != a {
			t.Errorf("%+v reads back as %+v", a, again)
		}
	})
}
