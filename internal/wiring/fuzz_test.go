package wiring

import (
	"bytes"
	"testing"
)

// An audit log that a crash cut off somewhere is read as far as it is whole.
//
//fuzz:parser report.go:readAudit,collect
func FuzzReadAudit(f *testing.F) {
	f.Add([]byte(`{"action":"attest","decision":"allow","init_data":"sha256:00"}` + "\n" + `{"action":"attest","dec`))
	f.Add([]byte("\n\n{}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		list, err := readAudit(bytes.NewReader(log))
		if err == nil && len(list) > bytes.Count(log, []byte("\n"))+1 {
			t.Errorf("%d entries in %q", len(list), log)
		}
		whole, err2 := readAudit(bytes.NewReader(append(bytes.Clone(log), "\n{\"action\":\"x\"}\n"...)))
		if err == nil && err2 == nil && (len(whole) != len(list)+1 || whole[len(list)].Action != "x") {
			t.Errorf("a line behind %q was lost", log)
		}
		into := map[int]string{}
		collect(into, map[string]string{string(log): "x", "8": "y"})
		if into[8] == "" {
			t.Error("PCR 8 was lost")
		}
	})
}
