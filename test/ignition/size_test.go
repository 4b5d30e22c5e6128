package ignition

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bar is what the engine may add to process 1, in bytes.
const bar = 4_000_000

func TestTheEngineAddsAtMostFourMegabytesToProcessOne(t *testing.T) {
	with, without := sizes(t)
	t.Logf("holdfast-node has %d bytes, %d without the engine", with, without)
	if with-without > bar {
		t.Errorf("the engine adds %d bytes, at most %d", with-without, bar)
	}
	if with-without < bar/4 {
		t.Errorf("the engine adds %d bytes only: it is in what is to be without it", with-without)
	}
}

// sizes are those of process 1 as it is built for machines, and of the same
// without the engine, its units and their supervisor.
func sizes(t testing.TB) (with, without int64) {
	t.Helper()
	dir := t.TempDir()
	return size(t, dir), size(t, dir, "-overlay", withoutEngine(t, dir))
}

func size(t testing.TB, dir string, words ...string) int64 {
	t.Helper()
	out := filepath.Join(dir, "node")
	build := exec.Command("go", append(append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out}, words...), "holdfast/cmd/holdfast-node")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// withoutEngine has the three files of process 1 that call the engine, without
// the calls.
func withoutEngine(t testing.TB, dir string) (overlay string) {
	t.Helper()
	main := source(t, "cmd/holdfast-node/main.go")
	raw, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, block := range []string{"\tif words, ok := provision.Words", "\tif len(os.Args) > 1 && os.Args[1] == \"launch\""} {
		text = cut(t, text, block, "\n\t}\n")
	}
	for _, unused := range []string{"context", "holdfast/internal/supervise", "holdfast/internal/wiring/provision"} {
		text = cut(t, text, "\t\""+unused, "\n")
	}
	replace := map[string]string{main: text,
		source(t, "internal/wiring/machine/units.go"): "package machine\n",
		source(t, "internal/wiring/machine/provision.go"): `package machine
import ("context"; "holdfast/internal/node")
func (*identified) applyIgnition(context.Context, node.Provision) (string, error) { return "", nil }`,
	}
	for from, text := range replace {
		to := filepath.Join(dir, fmt.Sprint(len(text), filepath.Base(from)))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[from] = to
	}
	if raw, err = json.Marshal(map[string]any{"Replace": replace}); err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return overlay
}

func source(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cut is a text without what begins and ends so.
func cut(t testing.TB, text, begin, end string) string {
	t.Helper()
	head, rest, found := strings.Cut(text, begin)
	_, tail, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("process 1 is made otherwise now: it has no %q", begin)
	}
	return head + tail
}
