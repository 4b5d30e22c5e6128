package ignition

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inNamespace runs the engine's files stage on a root that setup made, in
// mounts of its own.
func inNamespace(t *testing.T, ours, setup, config string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "root"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "config.ign"), []byte(config), 0o600))
	script := setup + `
for stage in fetch files; do
  "$0" -platform file -stage $stage -root root -log-to-stdout -config-cache cache -neednet net -state-file state || { ls -A root; exit 1; }
done`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, ours)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("accepted:\n%s", out)
	}
	return string(out)
}

func TestAFullDiskIsNamedWithTheFileAndLeavesNoHalfOne(t *testing.T) {
	_, ours := needs(t)
	body := strings.Repeat("a", 200_000)
	out := inNamespace(t, ours, "mount -t tmpfs -o size=64k none root", `{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/big","contents":{"source":"data:,`+body+`"}}]}}`)
	if !strings.Contains(out, "$.storage.files[0]: file /big") || !strings.Contains(out, "no space left on device") {
		t.Errorf("said %.600s", out)
	}
	if strings.HasSuffix(strings.TrimSpace(out), "big") || strings.Contains(out, ".ignition-") || strings.Contains(out, "aaaa") {
		t.Errorf("left or said too much: %.600s", out)
	}
}

func TestAReadOnlyMountIsNamedWithTheFile(t *testing.T) {
	_, ours := needs(t)
	out := inNamespace(t, ours, "mkdir root/ro && mount -t tmpfs -o ro none root/ro", `{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/ro/f","contents":{"source":"data:,x"}}]}}`)
	if !strings.Contains(out, "$.storage.files[0]: file /ro/f") || !strings.Contains(out, "read-only file system") {
		t.Errorf("said %.600s", out)
	}
}
