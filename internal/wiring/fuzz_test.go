package wiring

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
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

// The record of a run is read, or is an error that names the file.
//
//fuzz:parser record.go:readRecord
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(`{"name":"run-a","state":"running","pid":1}`))
	f.Add([]byte(`{"pid":"x"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		write := func(b []byte) {
			if err := os.WriteFile(filepath.Join(dir, recordFile), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(b)
		r, err := readRecord(dir)
		if err != nil {
			if !strings.Contains(err.Error(), recordFile) {
				t.Errorf("%v does not name the file", err)
			}
			return
		}
		raw, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		write(raw)
		again, err := readRecord(dir)
		if second, _ := json.Marshal(again); err != nil || !bytes.Equal(raw, second) {
			t.Errorf("%s reads back as %s, %v", raw, second, err)
		}
	})
}
