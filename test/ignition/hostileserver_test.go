package ignition

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/test/selfsigned"
)

// endless sends what never ends.
func endless(w http.ResponseWriter, _ *http.Request) {
	for b := bytes.Repeat([]byte(" "), 1<<16); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// drips sends a byte now and then.
func drips(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, "x")
		w.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond)
	}
}

// TestAHostileServerEndsTheRunInOneLine has the whole engine ask servers that
// mean it ill, for a config and for a file's contents.
func TestAHostileServerEndsTheRunInOneLine(t *testing.T) {
	_, ours := needs(t)
	const hash = `"verification":{"hash":"sha256-0000000000000000000000000000000000000000000000000000000000000000"},`
	for _, c := range []struct {
		name, more   string
		serve        http.HandlerFunc
		config, file string // what is said when it is asked for the one or the other
	}{
		{"redirect loop", "", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?CANARY", http.StatusFound)
		}, "redirects again and again", "/a: the server redirects again and again"},
		{"slow loris", "", drips, "not done in 2s", "/a: not done in 2s"},
		{"no answer", "", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "not done in 2s", "/a: not done in 2s"},
		{"10 GB announced", "", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000000000")
			endless(w, r)
		}, "the server announces 10000000000", "no space left on device"},
		{"10 GB sent", "", endless, "more than the limit of 67108864 bytes", "no space left on device"},
		{"wrong hash", hash, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{CANARY}") }, "the hash differs", "/a: the hash differs"},
	} {
		server := httptest.NewServer(c.serve)
		t.Cleanup(server.Close)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			total := 120 // of which a busy machine may need some
			if strings.Contains(c.config, "not done in 2s") {
				total = 2
			}
			source := fmt.Sprintf(`%s"source":%q`, c.more, strings.Replace(server.URL, "://", "://u:CANARY@", 1)+"/a?CANARY")
			t.Run("config", func(t *testing.T) {
				ends(t, ours, total, `"config":{"merge":[{`+source+`}]}`, "", "stage fetch: ", "fetch "+server.URL+"/a: ", c.config)
			})
			t.Run("file", func(t *testing.T) {
				ends(t, ours, total, "", `"files":[{"path":"/f","contents":{`+source+`}}]`, "stage files: $.storage.files[0]: file /f: ", c.file)
			})
		})
	}
}

// ends runs the stages on a root of 1 MiB, and wants one critical line with these
// words in it, little memory used, nothing told and nothing left.
func ends(t *testing.T, ours string, total int, ignition, storage string, words ...string) {
	t.Helper()
	dir := t.TempDir()
	if ignition != "" {
		ignition = "," + ignition
	}
	config := fmt.Sprintf(`{"ignition":{"version":"3.4.0","timeouts":{"httpTotal":%d}%s},"storage":{%s}}`, total, ignition, storage)
	check(t, os.Mkdir(filepath.Join(dir, "root"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "config.ign"), []byte(config), 0o600))
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs -o size=1m none root
for stage in fetch disks files; do
  "$0" -platform file -stage $stage -root root -log-to-stdout -config-cache cache -neednet net -state-file state || { code=$?; ls -A root | sed 's/^/left: /'; exit $code; }
done`, ours)
	cmd.Dir = dir
	raw, err := cmd.CombinedOutput()
	out := string(raw)
	if cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("got %v, want code 1", err)
	}
	_, said, ok := strings.Cut(out, "CRITICAL : Ignition failed: ")
	line, _, _ := strings.Cut(said, "\n")
	if !ok || strings.Contains(said, "CRITICAL") {
		t.Errorf("want one critical line, got %.600s", out)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("got %q, want %q in it", line, w)
		}
	}
	if strings.Contains(out, "CANARY") || strings.Contains(out, "left: ") {
		t.Errorf("told or left too much: %.600s", out)
	}
	if used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); !ok || used.Maxrss > 300<<10 {
		t.Errorf("held %d KiB", used.Maxrss)
	}
}

func TestAnExpiredCertificateEndsTheRunInOneLine(t *testing.T) {
	_, ours := needs(t)
	s, expired := selfsigned.Serve(t, nil, time.Now().Add(-time.Hour), "127.0.0.1")
	ca := url.PathEscape(string(expired))
	trust := `"security":{"tls":{"certificateAuthorities":[{"source":"data:,` + ca + `"}]}}`
	ends(t, ours, 5, trust, `"files":[{"path":"/f","contents":{"source":"`+s.URL+`/a?CANARY"}}]`, "$.storage.files[0]: file /f: ", "fetch "+s.URL+"/a: ", "certificate has expired")
	ends(t, ours, 5, trust+`,"config":{"replace":{"source":"`+s.URL+`/a?CANARY"}}`, "", "stage fetch: ", "fetch "+s.URL+"/a: ", "certificate has expired")
}
