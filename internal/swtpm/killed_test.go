package swtpm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/swtpm"
)

// processesOf are the command lines that name a folder, and have word in them.
func processesOf(folder, word string) (lines []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, _ := os.ReadFile(path)
		if bytes.Contains(line, []byte(folder)) && bytes.Contains(line, []byte(word)) {
			lines = append(lines, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return lines
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// killed kills a maker at a moment, which it tells by a word of its processes.
// Some last a few milliseconds: on a busy machine they are missed, and a maker
// that came to its end was none.
func killed(t *testing.T, dir, word string) bool {
	t.Helper()
	maker := exec.Command(os.Args[0])
	maker.Env = append(os.Environ(), makerVariable+"="+dir)
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = maker.Wait() }()
	for len(processesOf(dir, word)) == 0 {
		select {
		case <-ended:
			return false
		case <-time.After(time.Millisecond):
		}
	}
	_ = maker.Process.Kill()
	<-ended
	return true
}

func TestAKilledMakerLeavesNoProcessAndTheNextOneWorks(t *testing.T) {
	needSwtpm(t)
	for moment, word := range map[string]string{
		"as soon as there is a TPM":         "clientfd",
		"while the authority makes its key": "--generate-privkey",
		"while it signs":                    "issuercert.pem",
	} {
		dir := t.TempDir()
		for tries := 20; !killed(t, dir, word); dir = t.TempDir() {
			if tries--; tries == 0 {
				t.Fatalf("%s: no maker was met there", moment)
			}
		}
		await(t, "killed "+moment+", all gone", func() bool { return len(processesOf(dir, "")) == 0 })
		if err := swtpm.Manufacture(t.Context(), inFolder(dir)); err != nil {
			t.Errorf("killed %s: %v", moment, err)
		}
	}
}

func TestAnUnfinishedAuthorityIsMadeAnew(t *testing.T) {
	needSwtpm(t)
	for _, name := range []string{"swtpm-localca-rootca-privkey.pem", "swtpm-localca-rootca-cert.pem", "signkey.pem", "issuercert.pem"} {
		c := inFolder(t.TempDir())
		if err := os.Mkdir(c.CADir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.CADir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := swtpm.Manufacture(t.Context(), c); err != nil {
			t.Errorf("%s is empty: %v", name, err)
		}
	}
}
