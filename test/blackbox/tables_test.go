package blackbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The configs that need neither md nor dm: on this machine, the disks alone.
func TestTablesAndFilesystemsAreAsUpstreamLeavesThem(t *testing.T) {
	upstream := unsystemd(t)
	if os.Getuid() != 0 {
		t.Skip("makes loop devices as root: run make test")
	}
	ours := engine(t, t.TempDir())
	for _, path := range besides(t, onLoop) {
		name := filepath.Base(path)
		raw, err := os.ReadFile(path)
		check(t, err)
		// btrfs is not made twice with one UUID, on whatever disk.
		own := func(config []byte) []byte {
			return bytes.ReplaceAll(config, []byte("aaaaaaaa"), fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE([]byte(name))))
		}
		t.Run(strings.TrimSuffix(name, ".ign"), func(t *testing.T) {
			t.Parallel()
			before, err := os.ReadFile(strings.TrimSuffix(path, ".ign") + ".before.ign")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			before, raw := own(before), own(raw)
			var said [2][]string
			for i, engine := range []string{ours, upstream} {
				said[i] = tables(t, engine, string(before), string(raw))
			}
			judgeBoth(t, name, plainly(said[0], raw), plainly(said[1], raw))
		})
	}
}

// tables are those of two new disks after an engine applied both configs.
func tables(t *testing.T, engine, before, config string) []string {
	t.Helper()
	var disks []string
	for range 2 {
		disk, detach := loopDevice(t)
		defer detach() // before the other engine's: filesystems of one UUID are not made twice
		disks = append(disks, disk)
	}
	byLabel := strings.NewReplacer(labelled(t, before, config)...)
	before, config = byLabel.Replace(before), byLabel.Replace(config)
	here := strings.NewReplacer("/dev/loop6", disks[0], "/dev/loop7", disks[1])
	if before != "" {
		if verdict := disksStage(t, engine, here.Replace(before)); verdict != "applied" {
			t.Fatalf("the config before: %s", verdict)
		}
	}
	lines := []string{disksStage(t, engine, here.Replace(config))}
	back := strings.NewReplacer(disks[0], "/dev/loop6", disks[1], "/dev/loop7")
	for _, disk := range disks {
		words := []string{"-p"}
		for n := range 12 {
			words = append(words, fmt.Sprintf("-i=%d", n+1))
		}
		out, _ := exec.Command("sgdisk", append(words, disk)...).CombinedOutput() // a disk without a table is one
		parts, err := filepath.Glob(disk + "p*")
		check(t, err)
		for _, part := range parts {
			signature, _ := exec.Command("blkid", "-p", "-o", "export", part).Output() // a partition with nothing on it is one
			out = append(out, signature...)
		}
		lines = append(lines, strings.Split(back.Replace(string(out)), "\n")...)
	}
	return lines
}

// labelled are replacements of the names that udev would make of labels.
func labelled(t *testing.T, configs ...string) []string {
	t.Helper()
	var pairs []string
	for _, text := range configs {
		var c struct {
			Storage struct {
				Disks []struct {
					Device     string
					Partitions []struct {
						Number int
						Label  string
					}
				}
			}
		}
		if text != "" {
			check(t, json.Unmarshal([]byte(text), &c))
		}
		for _, d := range c.Storage.Disks {
			for _, p := range d.Partitions {
				pairs = append(pairs, `"/dev/disk/by-partlabel/`+p.Label+`"`, fmt.Sprintf(`"%sp%d"`, d.Device, p.Number))
			}
		}
	}
	return pairs
}

func loopDevice(t *testing.T) (dev string, detach func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, os.Truncate(file, 1300<<20))
	out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dev = strings.TrimSpace(string(out))
	return dev, func() {
		_ = exec.Command("partx", "-d", dev).Run()
		_ = exec.Command("losetup", "-d", dev).Run()
	}
}

// disksStage tells how it ended.
func disksStage(t *testing.T, engine, config string) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	check(t, os.WriteFile(at("config.ign"), []byte(config), 0o600))
	stubs, err := filepath.Abs("testdata/bin")
	check(t, err)
	for _, stage := range []string{"fetch", "disks"} {
		cmd := exec.Command(engine, "-platform", "file", "-stage", stage, "-root", dir, "-log-to-stdout",
			"-config-cache", at("cache"), "-neednet", at("net"), "-state-file", at("state"))
		cmd.Env = append(os.Environ(), "IGNITION_CONFIG_FILE="+at("config.ign"), "IGNITION_SYSTEM_CONFIG_DIR="+dir, "PATH="+stubs+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			t.Logf("%s: %s", filepath.Base(engine), out[max(0, len(out)-300):])
			return "stage " + stage + " refuses"
		case err != nil:
			t.Fatal(err)
		}
	}
	return "applied"
}
