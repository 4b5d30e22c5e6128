package keyprovider

import (
	"bytes"
	"testing"
)

// What is read of a frame is what was put into one.
//
//fuzz:parser grpc.go:readFrame,field
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x0a\x00"))
	f.Add(frame([]byte("{}")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		message, err := readFrame(bytes.NewReader(raw))
		if err != nil {
			return
		}
		again, err := readFrame(bytes.NewReader(frame(message)))
		if err != nil || !bytes.Equal(again, message) {
			t.Errorf("%q became %q, %v", message, again, err)
		}
	})
}
