package swtpm

import (
	"bytes"
	"net"
	"testing"
)

// An answer of a TPM is as long as its header says, or an error.
//
//fuzz:parser open.go:Send
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x80\x01\x00\x00\x00\x0c\x00\x00\x00\x00ok"))
	f.Add([]byte("\x80\x01\x00\x00\x00\x09\x00\x00\x00\x00"))
	f.Add([]byte("\x80\x01\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Add([]byte("\x80\x01\x00\x00"))
	ended := &run{ended: make(chan struct{}), cancel: func() {}}
	close(ended.ended)
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		go func() {
			_, _ = theirs.Read(make([]byte, 16))
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		tpm := &TPM{run: ended, conn: ours}
		got, err := tpm.Send([]byte("command"))
		_ = ours.Close()
		if err == nil && (len(got) < 10 || len(got) > maxResponse || !bytes.HasPrefix(data, got) || int(got[4])<<8|int(got[5]) != len(got)) {
			t.Errorf("%q gave %q", data, got)
		}
	})
}
