// Package ignition holds our engine to upstream's: the same config, applied to
// equal roots by both, leaves equal trees.
package ignition

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// epoch is the day that both engines' accounts see.
const epoch = "SOURCE_DATE_EPOCH=1497398400"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needs(t testing.TB) (upstream, ours string) {
	t.Helper()
	upstream = os.Getenv("HOLDFAST_TEST_IGNITION")
	if upstream == "" || os.Getuid() != 0 {
		t.Skip("compares with upstream's engine as root: run make test")
	}
	ours = filepath.Join(t.TempDir(), "ignition")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", ours, "holdfast/cmd/holdfast-node")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return upstream, ours
}

// root is a small installation: what the tools for accounts read, and some
// files to meet.
func root(t *testing.T, dir string) {
	t.Helper()
	defer syscall.Umask(syscall.Umask(0o022))
	from := filepath.Join("testdata", "root")
	check(t, os.CopyFS(dir, os.DirFS(from)))
	for _, f := range []string{"shadow", "gshadow"} {
		check(t, os.Chmod(filepath.Join(dir, "etc", f), 0o640))
	}
	check(t, os.MkdirAll(filepath.Join(dir, "home/core"), 0o755))
	check(t, os.Chown(filepath.Join(dir, "home/core"), 1000, 1000))
	check(t, os.MkdirAll(filepath.Join(dir, "opt/kept"), 0o700))
	check(t, os.Chown(filepath.Join(dir, "opt/kept"), 500, 501))
	check(t, os.WriteFile(filepath.Join(dir, "opt/kept/file"), []byte("kept\n"), 0o640))
	check(t, os.Chown(filepath.Join(dir, "opt/kept/file"), 500, 501))
	check(t, os.Symlink("/opt/kept", filepath.Join(dir, "abs")))
	check(t, os.Symlink("opt/kept", filepath.Join(dir, "rel")))
	check(t, os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	check(t, os.Symlink("/etc/shells", filepath.Join(dir, "opt/link")))
}

// folder is one that users may enter, which upstream becomes for their keys.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "holdfast-ignition-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	check(t, os.Chmod(dir, 0o755))
	return dir
}

// apply runs the stages that need no disks. What the helper for kernel arguments
// is told is in the root, too.
func apply(t *testing.T, engine, config, root string) error {
	t.Helper()
	run := t.TempDir()
	stubs, err := filepath.Abs("testdata/bin")
	check(t, err)
	for _, stage := range []string{"fetch", "kargs", "files"} {
		cmd := exec.Command(engine, "-platform", "file", "-stage", stage, "-root", root, "-log-to-stdout",
			"-config-cache", filepath.Join(run, "config"), "-neednet", filepath.Join(run, "neednet"), "-state-file", filepath.Join(run, "state"))
		cmd.Env = append(os.Environ(), epoch, "IGNITION_CONFIG_FILE="+config, "IGNITION_SYSTEM_CONFIG_DIR="+run,
			"PATH="+stubs+":"+os.Getenv("PATH"), "KARGS="+filepath.Join(root, "kargs"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", stage, err, tail(out))
		}
	}
	return nil
}

func tail(out []byte) []byte {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-3):], []byte("\n"))
}

// tree is a line for each node: kind, mode, owner, links, contents. What says
// when an engine ran, and the copies that tools for accounts keep of what was
// there before, are not what a config asks for.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir)
		if strings.HasPrefix(name, "/etc/") && (strings.HasSuffix(name, "-") || name == "/etc/.pwd.lock") || name == "/etc/.ignition-result.json" {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %o %d:%d", name, stat.Mode, stat.Uid, stat.Gid)
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			check(t, err)
			line += " -> " + target
		case e.Type().IsRegular():
			raw, err := os.ReadFile(path)
			check(t, err)
			line += fmt.Sprintf(" %d links %q", stat.Nlink, raw)
		}
		lines = append(lines, line+attributes(t, path))
		return nil
	}))
	return lines
}

func attributes(t *testing.T, path string) string {
	t.Helper()
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	check(t, err)
	if n == 0 {
		return ""
	}
	list := strings.Split(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00")
	slices.Sort(list)
	return fmt.Sprintf(" xattrs %q", list)
}

func TestTheSameConfigLeavesTheSameTreeAsUpstream(t *testing.T) {
	upstream, ours := needs(t)
	configs, err := filepath.Glob("testdata/*.ign")
	check(t, err)
	if len(configs) == 0 {
		t.Fatal("no configs")
	}
	served := newServers(t)
	for _, config := range configs {
		t.Run(strings.TrimSuffix(filepath.Base(config), ".ign"), func(t *testing.T) {
			raw, err := os.ReadFile(config)
			check(t, err)
			name := filepath.Base(config)
			config := filepath.Join(t.TempDir(), "config.ign")
			check(t, os.WriteFile(config, []byte(served.words.Replace(string(raw))), 0o600))
			theirRoot, ourRoot := folder(t), folder(t)
			root(t, theirRoot)
			root(t, ourRoot)
			theirErr, ourErr := apply(t, upstream, config, theirRoot), apply(t, ours, config, ourRoot)
			if (theirErr == nil) != (ourErr == nil) {
				t.Fatalf("upstream: %v\nours: %v", theirErr, ourErr)
			}
			if want := strings.HasPrefix(name, "refused-"); want != (ourErr != nil) {
				t.Fatalf("refused is %v: %v", ourErr != nil, ourErr)
			}
			if ourErr != nil {
				return // what a refused config leaves is nobody's
			}
			compare(t, tree(t, ourRoot), tree(t, theirRoot))
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("upstream only: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("ours only:     %s", line)
		}
	}
}
