package provision

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/machine"
	"holdfast/internal/wiring"
)

// trace is what a machine that is whole shows. It is part of the configuration,
// and so the same before and after a cut, which may come while it sleeps.
const trace = `cat /m/etc/motd; echo boot >> /m/var/lib/data/boots; grep -c /m/var/lib/data /proc/mounts; sleep 4`

const hello = "  files:\n    - {path: /etc/motd, contents: {inline: \"provisioned\\n\"}}\n"

// Whenever the power goes, the next boot ends well or says why it does not, and
// what the config does not say to wipe is there.
func TestAPowerCutIsSurvivedOrRefused(t *testing.T) {
	b := needs(t)
	cuts := 3
	if os.Getenv("HOLDFAST_SOAK") != "" {
		cuts = 30
	}
	whole := newSubject(t, b, head+disks+hello)
	r, _ := whole.boot(trace, nil)
	whole.good(r)
	took := provisioning(t, r)
	random := rand.New(rand.NewPCG(6, 2026))
	var well, refused int
	for i := range cuts {
		after := time.Duration(random.Float64() * float64(took) * 1.1)
		t.Run(fmt.Sprintf("cut %d after %v", i+1, after.Round(time.Millisecond)), func(t *testing.T) {
			s := newSubject(t, b, head+disks+hello)
			for ; !s.cutOff(after); after /= 2 { // it was quicker than the one whose time was taken
				s = newSubject(t, b, head+disks+hello)
			}
			s.lives()
			r, out := s.boot(trace, nil)
			s.lives()
			if o := r.Outcome; o.Reason == machine.Refused {
				if refused++; o.Refusal.Stage != "provision" || !strings.Contains(o.Refusal.Reason, "$.storage") {
					t.Errorf("refused without a clear reason: %s", o)
				}
				t.Logf("refused: %s", o)
				return
			}
			s.good(r)
			if well++; !strings.Contains(out, "provisioned") || !strings.Contains(out, "1") {
				t.Errorf("got %q, want a machine that is whole", out)
			}
			t.Logf("ends well: %s", said(r, "provision"))
		})
	}
	t.Logf("%d cuts within %v: %d ended well, %d were refused", cuts, took, well, refused)
}

// provisioning is the time from the configuration to the end of the stage.
func provisioning(t *testing.T, r *wiring.Result) time.Duration {
	t.Helper()
	var begin, end time.Duration
	for _, s := range r.Report.Stages {
		switch s.Name {
		case "config":
			begin = s.After
		case "provision":
			end = s.After
		}
	}
	if begin == 0 || end <= begin {
		t.Fatalf("no stages config and provision in %+v", r.Report.Stages)
	}
	return end - begin
}

func said(r *wiring.Result, stage string) string {
	for _, s := range r.Report.Stages {
		if s.Name == stage {
			return s.Text
		}
	}
	return ""
}

// A fuse burns from when its text was seen.
type fuse struct {
	text  string
	after time.Duration
	blow  func()

	mu   sync.Mutex
	seen bytes.Buffer // under mu
	once sync.Once
}

func (f *fuse) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen.Write(p)
	if strings.Contains(f.seen.String(), f.text) {
		f.once.Do(func() { time.AfterFunc(f.after, f.blow) })
	}
	return len(p), nil
}

// cutOff kills the machine's process while it provisions itself, or says that it
// came too late for that.
func (s *subject) cutOff(after time.Duration) bool {
	s.Helper()
	f := &fuse{text: "stage config:", after: after, blow: s.kill}
	r, _ := s.boot(trace, func(r *wiring.Run) { r.Console = f })
	if r.Outcome.Reason == machine.Refused {
		s.Fatalf("got %s, want a machine that was killed\n%s", r.Outcome, f.seen.String())
	}
	return r.Outcome.Reason != machine.PoweredOff
}

// kill ends the children of this process that are machines of this subject.
func (s *subject) kill() {
	stats, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range stats {
		words, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(words, []byte("qemu-system")) || !bytes.Contains(words, []byte(s.path("disk"))) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
