package image

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A description of a machine image leads to the files beside it, and nowhere
// else.
//
//fuzz:parser describe.go:ReadMachine,DiskPath,UKIPath,ReferencePath
func FuzzReadMachine(f *testing.F) {
	f.Add([]byte(`{"version":1,"name":"guest","date":"2026-01-01T00:00:00Z","uki":{"file":"../../etc/passwd","size":1,"digest":"sha256:00"},"disk":{"partitions":[{"name":"esp","start":1048576,"size":1}]}}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, machineFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := ReadMachine(dir)
		if err != nil {
			if !strings.Contains(err.Error(), machineFile) {
				t.Errorf("%v does not name the file", err)
			}
			return
		}
		for _, p := range []string{m.DiskPath(), m.UKIPath(), m.ReferencePath()} {
			if filepath.Dir(p) != dir {
				t.Errorf("%s is not in %s", p, dir)
			}
		}
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, machineFile), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := ReadMachine(dir)
		if second, _ := json.Marshal(again); err != nil || !bytes.Equal(raw, second) {
			t.Errorf("%s reads back as %s, %v", raw, second, err)
		}
	})
}
