package seal

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const dumpVariable = "HOLDFAST_TEST_DUMP"

// TestMain is also a process that has secrets and crashes.
func TestMain(m *testing.M) {
	if os.Getenv(dumpVariable) == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(dumpVariable) == "hidden" && NoDumps() != nil {
		os.Exit(1)
	}
	limits, _ := os.ReadFile("/proc/self/limits")
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0) // PR_GET_DUMPABLE
	_, _ = os.Stdout.Write(limits)
	_, _ = os.Stdout.WriteString("dumpable " + string(rune('0'+dumpable)) + "\n")
	_ = syscall.Kill(os.Getpid(), syscall.SIGABRT)
	time.Sleep(time.Hour) // where nothing at all went on, the runtime would end the process at the same moment, and both ends hang
}

func TestAProcessWithSecretsLeavesNoCore(t *testing.T) {
	crash := func(how string) (string, []string) {
		dir := t.TempDir()
		cmd := exec.Command("sh", "-c", "ulimit -c unlimited 2>/dev/null; exec "+os.Args[0])
		cmd.Dir, cmd.Env = dir, append(os.Environ(), dumpVariable+"="+how)
		said, _ := cmd.Output()
		cores, err := filepath.Glob(filepath.Join(dir, "*core*"))
		check(t, err)
		return string(said), cores
	}
	said, cores := crash("hidden")
	if !regexp.MustCompile(`Max core file size +0 +0 `).MatchString(said) || !strings.Contains(said, "dumpable 0\n") || len(cores) > 0 {
		t.Errorf("got cores %v, and:\n%s", cores, said)
	}
	if said, _ := crash("shown"); !strings.Contains(said, "dumpable 1\n") {
		t.Errorf("without it a process is hidden, too, so this shows nothing:\n%s", said)
	}
}

// What the kernel says of the vault's pages: they are locked, and left out of dumps.
func TestKeysLieInLockedMemory(t *testing.T) {
	v := newVault(1024)
	t.Cleanup(func() { check(t, v.close()) })
	flags := regexp.MustCompile(`VmFlags:.*\n`)
	smaps, err := os.ReadFile("/proc/self/smaps")
	check(t, err)
	found := false
	for _, f := range flags.FindAllString(string(smaps), -1) {
		found = found || strings.Contains(f, " lo ") && strings.Contains(f, " dd ")
	}
	if !found {
		t.Error("no mapping is both locked (lo) and left out of dumps (dd)")
	}
}
