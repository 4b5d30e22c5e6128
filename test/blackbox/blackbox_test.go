package blackbox

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/internal/machine/machinetest"
)

// failing are upstream's tests that ours does not pass, and why. One that
// passes is an error too: it belongs no longer here.
var failing = map[string]string{
	"users.add":     "its stub gives uid 1020 the gid 1001, useradd gives 1020",
	"groups.add":    "its stub gives a system group the first free gid, groupadd the last",
	"groups.delete": "its stub deletes a user's primary group, groupdel refuses",
}

// A verdict is what the tests say of one.
var verdict = regexp.MustCompile(`--- (PASS|FAIL|SKIP): TestIgnition(BlackBox(?:Negative)?/\S+) `)

// rest are the tests that loop devices do not suffice for.
const rest = "/.*(luks|vfat)"

// All tests that are asked for, or each of the rest at the lowest version of the
// config.
func TestUpstreamsOwnTestsPassInAMachine(t *testing.T) {
	args := strings.Fields(os.Getenv("HOLDFAST_BLACKBOX"))
	if len(args) == 0 {
		args = []string{"-test.short", "-test.run=" + rest}
	}
	image, modules := machinetest.Kernel(t)
	judge(t, boot(t, image, initramfs(t, modules, program(t), args)))
}

// program is upstream's tests.
func program(t *testing.T) string {
	t.Helper()
	engine := os.Getenv("HOLDFAST_TEST_IGNITION")
	if engine == "" {
		t.Skip("runs the tests of upstream's engine: run make test")
	}
	return filepath.Join(filepath.Dir(engine), "blackbox.test")
}

func judge(t *testing.T, results map[string]string) {
	t.Helper()
	count := map[string]int{}
	for name, result := range results {
		count[result]++
		_, known := failing[family(name)]
		switch {
		case result == "FAIL" && !known:
			t.Errorf("%s failed", name)
		case result == "PASS" && known:
			t.Errorf("%s passed, and is listed as failing", name)
		}
	}
	t.Logf("%d passed, %d failed, %d skipped", count["PASS"], count["FAIL"], count["SKIP"])
	if count["PASS"] == 0 {
		t.Fatal("no test ran")
	}
}

// family is a test's name without the version of the config.
func family(name string) string {
	_, name, _ = strings.Cut(name, "/")
	at := strings.LastIndexByte(name, '_')
	return name[:max(at, 0)]
}

func initramfs(t *testing.T, modules, tests string, args []string) string {
	t.Helper()
	dir := t.TempDir()
	g, err := compose(modules, engine(t, dir), tests, args)
	check(t, err)
	init, err := os.ReadFile("testdata/init")
	check(t, err)
	packed, err := machinetest.Initrd(init, g.entries()...)
	check(t, err)
	at := filepath.Join(dir, "initrd")
	check(t, os.WriteFile(at, packed, 0o600))
	return at
}

// engine is ours, under upstream's name.
func engine(t *testing.T, dir string) string {
	t.Helper()
	program, err := machinetest.Program("holdfast/cmd/holdfast-node")
	check(t, err)
	at := filepath.Join(dir, "ignition")
	check(t, os.WriteFile(at, program, 0o755))
	return at
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot runs the machine until it is off, and tells each test's result. Its
// clock counts its instructions, two nanoseconds for each, so that the time that
// a test may take is not that of a processor it shares with others.
func boot(t *testing.T, image, initrd string) map[string]string {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), 6*time.Hour)
	defer end()
	words := []string{"-M", "q35", "-accel", "tcg", "-icount", "shift=1", "-cpu", "max", "-m", "6G", "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 quiet loop.max_part=15 loop.max_loop=8 panic=-1 cryptomgr.notests"}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", append(words, machinetest.TPM(t)...)...)
	out, err := qemu.StdoutPipe()
	check(t, err)
	qemu.Stderr = os.Stderr
	check(t, qemu.Start())
	results := verdicts(t, io.TeeReader(out, kept(t)))
	check(t, qemu.Wait())
	return results
}

// verdicts are of what was said.
func verdicts(t *testing.T, out io.Reader) map[string]string {
	t.Helper()
	results := map[string]string{}
	scan := bufio.NewScanner(out)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if m := verdict.FindStringSubmatch(scan.Text()); m != nil {
			results[m[2]] = m[1]
		}
	}
	check(t, scan.Err())
	return results
}
