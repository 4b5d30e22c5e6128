package wiring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/broker/backup"
)

// hostileBackup is a whole backup whose masters are in an HSM, that of a
// program which leaves a mark when it is run.
func hostileBackup(t *testing.T) (path, mark string) {
	t.Helper()
	i, err := Open(t.TempDir())
	check(t, err)
	_, kept, err := i.ownBroker(t.Context())
	check(t, err)
	check(t, kept.SetResource(t.Context(), "default/key/x", []byte("secret"), false))
	check(t, kept.Close())
	good := filepath.Join(t.TempDir(), "good.tar")
	_, err = i.BackUp(t.Context(), good, true)
	check(t, err)

	mark = filepath.Join(t.TempDir(), "mark")
	program := filepath.Join(filepath.Dir(mark), "program")
	check(t, os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho run > %s\n", mark), 0o700))
	return rewrite(t, good, func(dir string) {
		check(t, os.WriteFile(filepath.Join(dir, "keys/hsm.json"), fmt.Appendf(nil, `{"program":%q,"module":%q,"token":"t","pin_file":%q}`, program, program, program), 0o600))
		masters, err := filepath.Glob(filepath.Join(dir, "keys/master/*.json"))
		check(t, err)
		for _, name := range masters {
			raw, err := os.ReadFile(name)
			check(t, err)
			raw = bytes.Replace(raw, []byte(`"kind":"file","made"`), []byte(`"kind":"pkcs11","made"`), 1)
			raw = bytes.Replace(raw, []byte(`"params":{`), []byte(`"params":{"token":"t","label":"l",`), 1)
			check(t, os.WriteFile(name, raw, 0o600))
		}
	}), mark
}

// rewrite makes another backup of one.
func rewrite(t *testing.T, path string, change func(dir string)) string {
	t.Helper()
	in, err := os.Open(path)
	check(t, err)
	defer in.Close()
	dir, files := t.TempDir(), map[string]string{}
	_, err = backup.Unpack(in, dir)
	check(t, err)
	change(dir)
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files[rel] = path
		return err
	}))
	var out bytes.Buffer
	_, err = backup.Write(&out, time.Now(), files)
	check(t, err)
	other := filepath.Join(t.TempDir(), "hostile.tar")
	check(t, os.WriteFile(other, out.Bytes(), 0o600))
	return other
}

func TestNoBackupChoosesAProgramThatIsRun(t *testing.T) {
	path, mark := hostileBackup(t)
	for _, checkOnly := range []bool{true, false} {
		i, err := Open(t.TempDir())
		check(t, err)
		report, err := i.Restore(t.Context(), path, checkOnly)
		if refused := err != nil; refused == checkOnly {
			t.Errorf("check only %v: got %v", checkOnly, err)
		}
		if len(report.State.Sealed) != 1 || len(report.Needs) != 1 || !report.Needs[0].HSM {
			t.Errorf("got %+v, want one resource that does not open, for want of an HSM", report)
		}
		if _, err := os.Stat(i.hsmFile()); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the backup's hsm.json was made this installation's: %v", err)
		}
		if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("restore, check only %v: the backup's program was run", checkOnly)
		}
	}
}

func TestRestoredKeysUseTheHSMOfThisInstallation(t *testing.T) {
	path, _ := hostileBackup(t)
	i, err := Open(t.TempDir())
	check(t, err)
	check(t, os.MkdirAll(i.Keys(), 0o700))
	mark := filepath.Join(t.TempDir(), "own")
	program := filepath.Join(filepath.Dir(mark), "program")
	check(t, os.WriteFile(program, fmt.Appendf(nil, "#!/bin/sh\necho run > %s\n", mark), 0o700))
	own := fmt.Appendf(nil, `{"program":%q,"module":%q,"token":"t","pin_file":%q}`, program, program, program)
	check(t, os.WriteFile(i.hsmFile(), own, 0o600))
	if _, err := i.Restore(t.Context(), path, false); err == nil {
		t.Error("restored, though the HSM has no such key")
	}
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("this installation's program was not run: %v", err)
	}
	if raw, err := os.ReadFile(i.hsmFile()); err != nil || !bytes.Equal(raw, own) {
		t.Errorf("got %s %v, want what was set here", raw, err)
	}
}
