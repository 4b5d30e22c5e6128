// Package guide runs the commands of docs/guide as a reader would type them:
// the chapters in their order, in one folder, with one installation.
//
// In a chapter, a block ```console holds commands, as lines that begin with
// "$ ", and lines of what each prints; "# exits N" behind a command says that
// it ends so. A block ```yaml FILE is what the reader saves as FILE.
package guide

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/machine/qemu"
	"holdfast/internal/swtpm"
)

const root = "../.."

var chapters = []string{
	"image", "registry", "sign", "blob", "peers", "run", "broker", "secrets", "evidence", "confidential-containers", "attack",
	"verify", "policy", "rebuilt", "keep", "node", "provisioning", "metal", "ec2",
}

// A step is a command of a chapter, or a file that its reader saves.
type step struct {
	line    int
	command string
	exit    int
	prints  []string // lines, in order; others may stand between them

	file, content string
}

var (
	fence    = regexp.MustCompile("^```(\\S*) ?(.*)$")
	exitMark = regexp.MustCompile(` +# exits (\d+)$`)
)

func parse(t *testing.T, path string) []step {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	block := ""
	for i, text := range strings.Split(string(raw), "\n") {
		last := len(steps) - 1
		m := fence.FindStringSubmatch(text)
		switch {
		case m != nil && block == "" && m[1] == "yaml" && m[2] != "":
			block, steps = "file", append(steps, step{line: i + 1, file: m[2]})
		case m != nil && block == "":
			block = m[1] + " "
		case m != nil:
			block = ""
		case block == "file":
			steps[last].content += text + "\n"
		case block == "console " && strings.HasPrefix(text, "$ "):
			steps = append(steps, newStep(i+1, text[2:]))
		case block == "console " && last >= 0:
			steps[last].prints = append(steps[last].prints, text)
		}
	}
	return steps
}

func newStep(line int, command string) step {
	s := step{line: line, command: command}
	if m := exitMark.FindStringSubmatch(command); m != nil {
		s.exit, _ = strconv.Atoi(m[1])
		s.command = strings.TrimSuffix(command, m[0])
	}
	return s
}

func TestTheGuideSaysWhatHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("builds images and boots a machine: run without -short")
	}
	r := newReader(t)
	for _, chapter := range chapters {
		steps := parse(t, filepath.Join(root, "docs", "guide", chapter+".md"))
		t.Run(chapter, func(t *testing.T) {
			if r.lost != "" {
				t.Skip("goes on where a chapter before stopped:", r.lost)
			}
			r.lost = "chapter " + chapter
			needs(t, steps)
			for _, s := range steps {
				r.do(t, s)
			}
			r.lost = ""
		})
	}
}

// needs skips a chapter whose commands want what is not installed.
func needs(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if err := lacks(s.command); err != nil {
			t.Skipf("line %d: %v (make test installs it)", s.line, err)
		}
	}
}

func lacks(command string) error {
	word, rest, _ := strings.Cut(command, " ")
	switch {
	case word == "mcopy" || strings.Contains(command, "mkfs.fat "):
		return errors.Join(installed("mcopy"), installed("mkfs.fat"))
	case word == "openssl" || word == "skopeo" || word == "softhsm2-util":
		return installed(word)
	case strings.HasPrefix(rest, "attack "):
		return swtpm.Installed()
	case strings.HasPrefix(rest, "run "):
		_, err := qemu.New(qemu.Config{})
		if err == nil {
			_, err = qemu.FindFirmware()
		}
		return errors.Join(err, swtpm.Installed())
	}
	return nil
}

func installed(tool string) error {
	_, err := exec.LookPath(tool)
	return err
}

// A reader has a home, with the checkout in it, and works in an empty folder.
type reader struct {
	home, folder string
	env          []string
	lost         string // the chapter that was not read to its end
}

func newReader(t *testing.T) *reader {
	t.Helper()
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(checkout, "bin", "holdfast")); err != nil {
		t.Skip("no bin/holdfast: run make build, or make test")
	}
	home := t.TempDir()
	r := &reader{home: home, folder: filepath.Join(home, "try")}
	state := filepath.Join(home, "state")
	for _, dir := range []string{r.folder, state, cache(t)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{filepath.Join(home, "holdfast"): checkout, filepath.Join(state, "cache"): cache(t)} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	r.env = append(os.Environ(), goEnv(t)...)
	r.env = append(r.env, "HOME="+home, "HOLDFAST_STATE="+state,
		"PATH="+filepath.Join(checkout, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Cleanup(r.endServers)
	return r
}

// endServers ends those that a chapter was not read far enough to end: their
// numbers are in files.
func (r *reader) endServers() {
	files, _ := filepath.Glob(filepath.Join(r.folder, "*.pid"))
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil && isOurs(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// isOurs says whether a process still is a holdfast that serves.
func isOurs(pid int) bool {
	words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	text := string(words)
	return err == nil && (strings.Contains(text, "holdfast\x00serve") || strings.Contains(text, "broker\x00page"))
}

// cache is the package cache that all booted tests share.
func cache(t *testing.T) string {
	t.Helper()
	state := os.Getenv("HOLDFAST_STATE")
	if state == "" {
		state = filepath.Join(root, ".holdfast")
	}
	path, err := filepath.Abs(filepath.Join(state, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// goEnv keeps Go's caches where they are: by default they follow HOME.
func goEnv(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOFLAGS"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return env
}

func (r *reader) do(t *testing.T, s step) {
	t.Helper()
	if s.file != "" {
		path := filepath.Join(r.folder, s.file)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, []byte(s.content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", s.command)
	cmd.Dir, cmd.Env = r.folder, r.env
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != s.exit {
		t.Fatalf("line %d: $ %s\ngot exit code %d, want %d\n%s", s.line, s.command, got, s.exit, out)
	}
	if missing := firstMissing(string(out), s.prints); missing != "" {
		t.Fatalf("line %d: $ %s\nwant the line\n%s\ngot\n%s", s.line, s.command, missing, out)
	}
}

// firstMissing is the first wanted line that out does not have behind those
// before it.
func firstMissing(out string, wanted []string) string {
	lines := strings.Split(out, "\n")
	for _, want := range wanted {
		form := pattern(want)
		i := slices.IndexFunc(lines, form.MatchString)
		if i < 0 {
			return want
		}
		lines = lines[i+1:]
	}
	return ""
}

// figure is a number that follows the packages of the day.
var figure = regexp.MustCompile(`[0-9]+(\\\.[0-9]+)? (MB|kB|packages)`)

// pattern matches a line in which "…" stands for anything.
func pattern(line string) *regexp.Regexp {
	p := figure.ReplaceAllString(regexp.QuoteMeta(line), `[0-9.]+ $2`)
	return regexp.MustCompile("^" + strings.ReplaceAll(p, "…", ".*") + "$")
}
