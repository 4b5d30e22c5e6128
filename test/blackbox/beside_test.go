package blackbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/internal/machine/machinetest"
)

// Upstream's engine and ours apply each config to equal disks of one machine,
// and leave the same tables, arrays, volumes, filesystems and trees.
func TestDisksAreAsUpstreamLeavesThem(t *testing.T) {
	upstream := unsystemd(t)
	if os.Getenv("HOLDFAST_BLACKBOX") == "" {
		t.Skip("boots a machine in which two engines make disks: run make blackbox")
	}
	image, modules := machinetest.Kernel(t)
	dir := t.TempDir()
	g, err := beside(modules, engine(t, dir), upstream, besides(t, inMachine))
	check(t, err)
	init, err := os.ReadFile("testdata/beside-init")
	check(t, err)
	packed, err := machinetest.Initrd(init, g.entries()...)
	check(t, err)
	log := kept(t)
	for _, path := range besides(t, inMachine) {
		name := filepath.Base(path)
		config, err := os.ReadFile(path)
		check(t, err)
		t.Run(name, func(t *testing.T) {
			said := compareIn(t, log, image, packed, name)
			judgeBoth(t, name, plainly(said["ignition"], config), plainly(said["upstream"], config))
		})
	}
}

// besides are the configs, without those that make the disk before.
func besides(t *testing.T, which func(config string) bool) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/beside/*.ign")
	check(t, err)
	var list []string
	for _, path := range all {
		raw, err := os.ReadFile(path)
		check(t, err)
		if !strings.HasSuffix(path, ".before.ign") && which(string(raw)) {
			list = append(list, path)
		}
	}
	return list
}

// inMachine are those with arrays, volumes and mounts.
func inMachine(config string) bool { return !onLoop(config) || strings.Contains(config, `"path"`) }

// onLoop are those that need neither md nor dm.
func onLoop(config string) bool {
	return !strings.Contains(config, `"raid"`) && !strings.Contains(config, `"luks"`)
}

// unsystemd is upstream's engine for where no systemd is.
func unsystemd(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(program(t)), "without-systemd")
	if _, err := os.Stat(path); err != nil {
		t.Skip("runs upstream's engine without systemd: run make test")
	}
	return path
}

// judgeBoth also wants the run to have ended as the config's name says.
func judgeBoth(t *testing.T, name string, ours, theirs []string) {
	t.Helper()
	want := "applied"
	if strings.HasPrefix(name, "refused-") {
		want = "stage disks refuses"
	}
	if all := "\n" + strings.Join(ours, "\n"); !strings.Contains(all, "\n"+want) || len(theirs) == 0 {
		t.Errorf("want %q, got\n%s\nupstream\n%s", want, all, strings.Join(theirs, "\n"))
		return
	}
	for i := range max(len(ours), len(theirs)) {
		if i >= len(ours) || i >= len(theirs) || ours[i] != theirs[i] {
			t.Errorf("line %d: ours\n%s\nupstream\n%s", i, strings.Join(ours[min(i, len(ours)):min(i+3, len(ours))], "\n"), strings.Join(theirs[min(i, len(theirs)):min(i+3, len(theirs))], "\n"))
			return
		}
	}
}

// beside is the guest with both engines and the configs.
func beside(modules, ours, theirs string, configs []string) (*guest, error) {
	g, err := compose(modules, ours, theirs, nil)
	if err != nil {
		return nil, err
	}
	g.folder("configs")
	if err := g.copy(theirs, "usr/local/bin/upstream"); err != nil {
		return nil, err
	}
	for _, path := range configs {
		before := strings.TrimSuffix(path, ".ign") + ".before.ign"
		for _, file := range []string{path, before} {
			err := g.copy(file, "configs/"+filepath.Base(file))
			if err != nil && !(file == before && errors.Is(err, fs.ErrNotExist)) {
				return nil, err
			}
		}
	}
	return g, nil
}

// compareIn gives what was told of each engine, in a machine of the config's own.
func compareIn(t *testing.T, log io.Writer, image string, initrd []byte, config string) map[string][]string {
	t.Helper()
	out := machinetest.Boot(t, image, initrd, "loop.max_part=15 loop.max_loop=8 beside="+config, "-m", "4G")
	_, err := io.WriteString(log, out)
	check(t, err)
	if !strings.Contains(out, "beside: done") {
		t.Fatalf("the machine did not come to its end:\n%s", out[max(0, len(out)-4000):])
	}
	said, name := map[string][]string{}, ""
	for scan := bufio.NewScanner(strings.NewReader(out)); scan.Scan(); {
		line := strings.TrimRight(scan.Text(), "\r ")
		switch rest, ok := strings.CutPrefix(line, "== "); {
		case ok && rest != "end":
			name = rest
		case ok:
			name = ""
		case name != "" && !strings.HasPrefix(line, "# ") && line != "":
			said[name] = append(said[name], line)
		}
	}
	return said
}

// kept is where somebody asked for all that is said.
func kept(t *testing.T) io.Writer {
	t.Helper()
	path := os.Getenv("HOLDFAST_BLACKBOX_LOG")
	if path == "" {
		return io.Discard
	}
	f, err := os.Create(path)
	check(t, err)
	t.Cleanup(func() { check(t, f.Close()) })
	return f
}

var (
	uuids = regexp.MustCompile(`(?i)[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}|\b[0-9a-f]{4}-[0-9a-f]{4}\b|\b[0-9a-f]{8}(:[0-9a-f]{8}){3}\b`)
	// byChance are a disk's number, what a volume's header draws, and what it
	// measures.
	byChance = regexp.MustCompile(`^PART_ENTRY_DISK=|^luks:\s+(Salt|Digest|AF|Iterations|Time cost|Memory|Threads|UUID|Epoch|[0-9a-f]{2} )`)
)

// drawn is a key that an engine draws where the config has none.
var drawn = regexp.MustCompile(`^[0-9a-f]{1000,}`)

// plainly are lines without what is drawn by chance: identifiers that the
// config does not name, salts, keys.
func plainly(lines []string, config []byte) []string {
	var list []string
	for _, line := range lines {
		if byChance.MatchString(line) {
			continue
		}
		list = append(list, uuids.ReplaceAllStringFunc(drawn.ReplaceAllStringFunc(line, func(key string) string { return fmt.Sprintf("[key of %d]", len(key)) }), func(id string) string {
			if strings.Contains(strings.ToLower(string(config)), strings.ToLower(id)) {
				return strings.ToLower(id)
			}
			return fmt.Sprintf("[%d]", len(id))
		}))
	}
	return list
}
