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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

// config asks for n files of a size.
func config(b *testing.B, server string, n, size int) string {
	b.Helper()
	files := make([]map[string]any, n)
	for i := range files {
		files[i] = map[string]any{"path": fmt.Sprintf("/d/%d", i), "contents": map[string]string{"source": fmt.Sprintf("%s/%d/%d", server, size, i)}}
	}
	raw, err := json.Marshal(map[string]any{"ignition": map[string]string{"version": "3.4.0"}, "storage": map[string]any{"files": files}})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "config.ign")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// run is how long the stages took together, and the most memory of one.
func run(b *testing.B, engine, config, root string) (time.Duration, int64) {
	b.Helper()
	start, most, dir := time.Now(), int64(0), b.TempDir()
	for _, stage := range []string{"fetch", "files"} {
		cmd := exec.Command(engine, "-platform", "file", "-stage", stage, "-root", root, "-log-to-stdout",
			"-config-cache", filepath.Join(dir, "config"), "-neednet", filepath.Join(dir, "net"), "-state-file", filepath.Join(dir, "state"))
		cmd.Env = append(os.Environ(), "IGNITION_CONFIG_FILE="+config, "IGNITION_SYSTEM_CONFIG_DIR="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v\n%s", stage, err, tail(out))
		}
		most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss*1024)
	}
	return time.Since(start), most
}

// Both engines in turn, on the same config from the same server.
func BenchmarkBesideUpstream(b *testing.B) {
	upstream, ours := needs(b)
	server := httptest.NewServer(http.HandlerFunc(zeros))
	defer server.Close()
	for _, c := range []struct {
		name    string
		n, size int
	}{{"nothing", 0, 0}, {"1000x100KB", 1000, 100_000}, {"1x2GB", 1, 2_000_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			path := config(b, server.URL, c.n, c.size)
			var times [2]time.Duration
			var memory [2]int64
			for b.Loop() {
				for i, engine := range []string{upstream, ours} {
					root := b.TempDir()
					took, most := run(b, engine, path, root)
					times[i] += took
					memory[i] = max(memory[i], most)
					if err := os.RemoveAll(root); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			for i, who := range []string{"upstream", "ours"} {
				b.ReportMetric(float64(times[i].Milliseconds())/float64(b.N), who+"-ms")
				b.ReportMetric(float64(memory[i])/1e6, who+"-MB")
			}
		})
	}
}
