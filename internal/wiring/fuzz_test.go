package wiring

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
