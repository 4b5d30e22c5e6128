package ignition

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asMeter in the environment makes this test binary a meter, which writes what
// a program took to the file that it names.
const asMeter = "HOLDFAST_TEST_METER"

func TestMain(m *testing.M) {
	if file := os.Getenv(asMeter); file != "" {
		os.Exit(meter(file))
	}
	os.Exit(m.Run())
}

// A reading is what one run of a program took.
type reading struct {
	Seconds   float64 `json:"seconds"`
	Processor float64 `json:"processor"`
	Memory    int64   `json:"memory"` // at most, in bytes
}

// meter runs a program. The kernel counts the memory of who starts a program as
// the program's, which the process of a benchmark has more of than an engine:
// so a small one of its own starts it, and says so when it is not small enough.
func meter(file string) int {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		return 1
	}
	used, own := cmd.ProcessState, ownMemory()
	if used.SysUsage().(*syscall.Rusage).Maxrss <= own {
		fmt.Printf("the meter holds %d KiB, no less than %s\n", own, os.Args[1])
		return 1
	}
	r := reading{time.Since(start).Seconds(), (used.UserTime() + used.SystemTime()).Seconds(), used.SysUsage().(*syscall.Rusage).Maxrss << 10}
	raw, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// ownMemory is the most that this program held, in KiB, without what the one
// had that started it.
func ownMemory() (kib int64) {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return math.MaxInt64
	}
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return math.MaxInt64
	}
	return kib
}
