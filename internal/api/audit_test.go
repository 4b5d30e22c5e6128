package api

import (
	"bytes"
	"testing"
)

func readAll(log []byte) (list []AuditEntry, err error) {
	err = ReadAudit(bytes.NewReader(log), func(e AuditEntry) { list = append(list, e) })
	return list, err
}

// A crash leaves a torn line in the audit log for good: docs say so, and every
// later reader has to live with it.
func TestATornLineOfAnAuditLogIsLeftOut(t *testing.T) {
	list, err := readAll([]byte("{\"action\":\"attest\"}\n{\"time\":\"2026\n{\"action\":\"get-resource\"}\n"))
	if err != nil || len(list) != 2 || list[1].Action != "get-resource" {
		t.Errorf("got %+v, %v, want two entries", list, err)
	}
}

// An audit log that a crash cut off somewhere is read as far as it is whole.
//
//fuzz:parser audit.go:ReadAudit
func FuzzReadAudit(f *testing.F) {
	f.Add([]byte(`{"action":"attest","decision":"allow","init_data":"sha256:00"}` + "\n" + `{"action":"attest","dec`))
	f.Add([]byte("\n\n{}\nnull\n[]\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		list, err := readAll(log)
		if err == nil && len(list) > bytes.Count(log, []byte("\n"))+1 {
			t.Errorf("%d entries in %q", len(list), log)
		}
		whole, err2 := readAll(append(bytes.Clone(log), "\n{\"action\":\"x\"}\n"...))
		if err == nil && err2 == nil && (len(whole) != len(list)+1 || whole[len(list)].Action != "x") {
			t.Errorf("a line behind %q was lost", log)
		}
	})
}
