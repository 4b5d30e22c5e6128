package ignition

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// zeros answers /SIZE/ANYTHING with as many bytes.
func zeros(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(strings.Split(r.URL.Path, "/")[1], 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(size))
	_, _ = io.CopyN(w, zero{}, size) // the engine may go away
}

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// downloads asks for n files of a size.
func downloads(server string, n, size int) map[string]any {
	files := make([]map[string]any, n)
	for i := range files {
		files[i] = map[string]any{"path": fmt.Sprintf("/d/%d", i), "contents": map[string]string{"source": fmt.Sprintf("%s/%d/%d", server, size, i)}}
	}
	return map[string]any{"files": files}
}

// partitions are three with filesystems, on an empty disk.
func partitions(disk string) map[string]any {
	parts, systems := []map[string]any{}, []map[string]any{}
	for i, format := range []string{"ext4", "btrfs", "swap"} {
		parts = append(parts, map[string]any{"number": i + 1, "label": format, "sizeMiB": 160})
		systems = append(systems, map[string]any{"device": fmt.Sprintf("%sp%d", disk, i+1), "format": format, "wipeFilesystem": true})
	}
	return map[string]any{"disks": []map[string]any{{"device": disk, "wipeTable": true, "partitions": parts}}, "filesystems": systems}
}

func write(b *testing.B, storage map[string]any) string {
	b.Helper()
	raw, err := json.Marshal(map[string]any{"ignition": map[string]string{"version": "3.4.0"}, "storage": storage})
	must(b, err)
	path := filepath.Join(b.TempDir(), "config.ign")
	must(b, os.WriteFile(path, raw, 0o600))
	return path
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// cost is what stages took together, and the most memory of one. Processor time
// is less of what else the machine does.
type cost struct {
	seconds   map[string]float64 // by stage
	processor float64
	memory    float64
}

func (c cost) total() (s float64) {
	for _, v := range c.seconds {
		s += v
	}
	return s
}

// run runs the stages, with programs for a kernel that reads no tables first in
// the path.
func run(b *testing.B, engine, config, root string, stages []string) cost {
	b.Helper()
	c, dir := cost{seconds: map[string]float64{}}, b.TempDir()
	stubs, err := filepath.Abs("../blackbox/testdata/bin")
	must(b, err)
	exe, err := os.Executable()
	must(b, err)
	for _, stage := range stages {
		file := filepath.Join(dir, "reading")
		cmd := exec.Command(exe, engine, "-platform", "file", "-stage", stage, "-root", root, "-log-to-stdout",
			"-config-cache", filepath.Join(dir, "config"), "-neednet", filepath.Join(dir, "net"), "-state-file", filepath.Join(dir, "state"))
		cmd.Env = append(os.Environ(), asMeter+"="+file, "IGNITION_CONFIG_FILE="+config, "IGNITION_SYSTEM_CONFIG_DIR="+dir, "PATH="+stubs+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", stage, err, tail(out))
		}
		raw, err := os.ReadFile(file)
		must(b, err)
		var r reading
		must(b, json.Unmarshal(raw, &r))
		c.seconds[stage] = r.Seconds
		c.processor += r.Processor
		c.memory = max(c.memory, float64(r.Memory))
	}
	return c
}

// Both engines in turn, on the same config from the same server.
func BenchmarkProvision(b *testing.B) {
	upstream, ours := needs(b)
	server := httptest.NewServer(http.HandlerFunc(zeros))
	defer server.Close()
	for _, c := range []struct {
		name    string
		n, size int
	}{{"empty", 0, 0}, {"1000x100KB", 1000, 100_000}, {"2GB", 1, 2_000_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			beside(b, upstream, ours, write(b, downloads(server.URL, c.n, c.size)), []string{"fetch", "files"})
		})
	}
	b.Run("disk", func(b *testing.B) {
		upstream := filepath.Join(filepath.Dir(upstream), "without-systemd")
		if _, err := os.Stat(upstream); err != nil {
			b.Skip("runs upstream's engine without systemd: run make blackbox")
		}
		disk := loopDisk(b)
		beside(b, upstream, ours, write(b, partitions(disk)), []string{"fetch", "disks"})
	})
}

func loopDisk(b *testing.B) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "disk")
	must(b, os.WriteFile(file, nil, 0o600))
	must(b, os.Truncate(file, 600<<20))
	out, err := exec.Command("losetup", "-f", "--show", file).CombinedOutput()
	if err != nil {
		b.Skipf("needs loop devices as root: %s", out)
	}
	dev := strings.TrimSpace(string(out))
	b.Cleanup(func() {
		_ = exec.Command("partx", "-d", dev).Run()
		_ = exec.Command("losetup", "-d", dev).Run()
	})
	return dev
}

// beside reports medians, and the medians of each pair's ratio.
func beside(b *testing.B, upstream, ours, config string, stages []string) {
	var theirs, own []cost
	for b.Loop() {
		for i, engine := range []string{upstream, ours} {
			root := b.TempDir()
			c := run(b, engine, config, root, stages)
			must(b, os.RemoveAll(root))
			if i == 0 {
				theirs = append(theirs, c)
			} else {
				own = append(own, c)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	ratio := func(of func(cost) float64) float64 {
		list := make([]float64, len(own))
		for i := range own {
			list[i] = of(own[i]) / of(theirs[i])
		}
		return middle(list)
	}
	b.ReportMetric(ratio(cost.total), "time-ratio")
	b.ReportMetric(ratio(func(c cost) float64 { return c.processor }), "processor-ratio")
	b.ReportMetric(ratio(func(c cost) float64 { return c.memory }), "memory-ratio")
	for who, list := range map[string][]cost{"upstream": theirs, "ours": own} {
		for _, stage := range stages {
			b.ReportMetric(1000*middle(each(list, func(c cost) float64 { return c.seconds[stage] })), who+"-"+stage+"-ms")
		}
		b.ReportMetric(middle(each(list, func(c cost) float64 { return c.memory }))/1e6, who+"-MB")
	}
}

func each(list []cost, of func(cost) float64) []float64 {
	out := make([]float64, len(list))
	for i, c := range list {
		out[i] = of(c)
	}
	return out
}

func middle(list []float64) float64 {
	slices.Sort(list)
	return (list[(len(list)-1)/2] + list[len(list)/2]) / 2
}

// The engine's share of process 1: the same program without the calls of it.
func BenchmarkEngineSize(b *testing.B) {
	with, without := sizes(b)
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(with)/1e6, "node-MB")
	b.ReportMetric(float64(with-without)/1e6, "added-MB")
}
