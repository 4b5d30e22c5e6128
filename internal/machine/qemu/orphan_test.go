package qemu

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/machine"
)

// orphanVariable makes TestMachineDiesWithItsStarter play the starter.
const orphanVariable = "HOLDFAST_TEST_ORPHAN_FOLDER"

func TestMachineDiesWithItsStarter(t *testing.T) {
	if folder := os.Getenv(orphanVariable); folder != "" {
		if _, err := startBare(t, machine.Spec{Folder: folder}); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("started\n")
		select {}
	}
	needFirmware(t)
	needQEMU(t)
	folder := filepath.Join(t.TempDir(), "m")
	starter := exec.Command(os.Args[0], "-test.run=^TestMachineDiesWithItsStarter$")
	// A killed starter clears nothing away: what it makes lies in our folder.
	starter.Env = append(os.Environ(), orphanVariable+"="+folder, "TMPDIR="+filepath.Dir(folder))
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
		t.Fatalf("starter said %q: %v", line, err)
	}
	if got := processesOf(folder); len(got) != 1 {
		t.Errorf("got machines %v, want one", got)
	}
	_ = starter.Process.Kill()
	_ = starter.Wait()
	for end := time.Now().Add(30 * time.Second); len(processesOf(folder)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("machines %v outlived their starter", processesOf(folder))
		}
	}
}

// processesOf finds the QEMU processes that work in a folder.
func processesOf(folder string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		cmdline, _ := os.ReadFile(path)
		if bytes.Contains(cmdline, []byte(folder)) && strings.Contains(string(cmdline), binaryName) {
			pids = append(pids, path)
		}
	}
	return pids
}
