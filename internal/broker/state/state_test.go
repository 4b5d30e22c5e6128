package state_test

import (
	"bytes"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/api"
	"holdfast/internal/broker"
	"holdfast/internal/broker/state"
	"holdfast/internal/broker/state/statetest"
	"holdfast/internal/seal/sealtest"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New()})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func TestStateHoldsWhatABrokerAsks(t *testing.T) {
	dir := t.TempDir()
	statetest.Run(t, func(t *testing.T, name string) broker.State { return open(t, filepath.Join(dir, name)) })
}

// eachFile reads all that is in a folder.
func eachFile(t *testing.T, dir string, look func(path string, info fs.FileInfo, raw []byte)) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		check(t, err)
		raw, err := os.ReadFile(path)
		check(t, err)
		look(path, info, raw)
		return nil
	}))
}

func TestNoSecretIsOnDiskInClear(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	check(t, s.SetResource(t.Context(), "a/b/c", []byte("hunter2"), false))
	check(t, s.SetResource(t.Context(), "a/b/c", []byte("hunter2, again"), false))
	check(t, s.DeleteResource(t.Context(), "a/b/c"))
	files := 0
	eachFile(t, dir, func(path string, info fs.FileInfo, raw []byte) {
		files++
		if bytes.Contains(raw, []byte("hunter2")) {
			t.Errorf("%s holds the secret", path)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
	})
	if files < 3 { // database, log, index of the log
		t.Errorf("got %d files, want those of an open database", files)
	}
}

func TestAResourceUnderAnothersNameDoesNotOpen(t *testing.T) {
	s := open(t, t.TempDir())
	var one []byte
	check(t, s.SetResource(t.Context(), "a/b/c", []byte("one"), false))
	check(t, s.SetResource(t.Context(), "a/b/d", []byte("two"), false))
	check(t, s.Reseal(t.Context(), func(name string, sealed []byte) ([]byte, error) {
		if name == "a/b/c" {
			one = bytes.Clone(sealed)
		}
		return one, nil
	}))
	if got, err := s.Resource(t.Context(), "a/b/d"); err == nil {
		t.Errorf("got %q, want an error", got)
	}
}

// before are the files of a broker of before.
func before(t *testing.T, dir string) {
	t.Helper()
	digest := strings.Repeat("ab", 32)
	for path, content := range map[string]string{
		"resources/a/b/c": "hunter2", "resources/a/b/.tmp-d": "never finished",
		"configurations/" + digest + ".json": `{"digest":"sha256:` + digest + `","resources":["a/b/c"]}`,
		"references/" + digest + ".json":     `{"an":"envelope"}`,
		"policies/resource.rego":             "package policy\n",
		"attested/0123456789abcdef.json":     `{"a":"record"}`,
		"proofs/2026-x.json":                 `{"a":"proof"}`,
	} {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700))
		check(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
	}
}

func TestFilesOfBeforeAreImportedOnce(t *testing.T) {
	dir := t.TempDir()
	before(t, dir)
	for range 2 {
		s, ctx := open(t, dir), t.Context()
		names, err := s.Resources(ctx)
		if err != nil || len(names) != 1 {
			t.Fatalf("got %q, %v", names, err)
		}
		if value, err := s.Resource(ctx, "a/b/c"); err != nil || string(value) != "hunter2" {
			t.Errorf("got %q, %v", value, err)
		}
		for _, kind := range []string{api.PolicyKind, api.ReferenceKind, api.ConfigurationKind} {
			if list, generation, err := s.Documents(ctx, kind); err != nil || len(list) != 1 || generation != 1 || list[0].Actor != "import" {
				t.Errorf("%s: got %+v of generation %d, %v", kind, list, generation, err)
			}
		}
		if record, err := s.Attested(ctx, "0123456789abcdef"); err != nil || string(record) != `{"a":"record"}` {
			t.Errorf("got %q, %v", record, err)
		}
		if proof, err := s.Proof(ctx, "2026-x"); err != nil || string(proof) != `{"a":"proof"}` {
			t.Errorf("got %q, %v", proof, err)
		}
	}
	for _, folder := range []string{"resources", "policies", "proofs"} {
		if _, err := os.Stat(filepath.Join(dir, folder)); err == nil {
			t.Errorf("%s is still where it was", folder)
		}
		_, err := os.Stat(filepath.Join(dir, state.BeforeFolder, folder))
		if there := err == nil; there != (folder != "resources") {
			t.Errorf("%s of before: got %v", folder, err)
		}
	}
}

func TestAnUpgradeLeavesNoSecretInClear(t *testing.T) {
	dir := t.TempDir()
	before(t, dir)
	secret := filepath.Join(dir, "resources", "a", "b", "c")
	held, err := os.Open(secret) // whoever has the file still open, or finds its blocks
	check(t, err)
	defer held.Close()
	s := open(t, dir)
	if raw, err := io.ReadAll(held); err != nil || string(raw) != strings.Repeat("\x00", len("hunter2")) {
		t.Errorf("the file's bytes are %q, %v", raw, err)
	}
	check(t, s.Close())
	// What a broker of before wrote after the import is not in the state, so it stays.
	check(t, os.MkdirAll(filepath.Dir(secret), 0o700))
	check(t, os.WriteFile(secret, []byte("another"), 0o600))
	var log bytes.Buffer
	s, err = state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	check(t, err)
	defer s.Close()
	if raw, err := os.ReadFile(filepath.Join(dir, state.BeforeFolder, "resources", "a", "b", "c")); err != nil || string(raw) != "another" {
		t.Errorf("got %q, %v", raw, err)
	}
	if !strings.Contains(log.String(), "stays in clear") || strings.Contains(log.String(), "another\n") {
		t.Errorf("logged %s", &log)
	}
}

func TestABrokenFileOfBeforeStopsTheImport(t *testing.T) {
	dir := t.TempDir()
	before(t, dir)
	path := filepath.Join(dir, "configurations", strings.Repeat("cd", 32)+".json")
	check(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err := state.Open(t.Context(), state.Config{Dir: dir, Sealer: sealtest.New()})
	if err == nil || !strings.Contains(err.Error(), "configurations/cdcd") {
		t.Fatalf("got %v, want the file named", err)
	}
	check(t, os.Remove(path))
	if names, err := open(t, dir).Resources(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("got %q, %v, want all that was there", names, err)
	}
}
