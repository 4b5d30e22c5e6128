package ignition

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
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

func TestAConfigThatMergesItselfEnds(t *testing.T) {
	_, ours := needs(t)
	var asked atomic.Int32
	server := httptest.NewServer(nil)
	defer server.Close()
	config := `{"ignition":{"version":"3.4.0","config":{"merge":[{"source":"` + server.URL + `/self?token=CANARY"}]}}}`
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, config)
	})
	out := inNamespace(t, ours, "", config)
	if !strings.Contains(out, "CRITICAL : Ignition failed: stage fetch: a config merges itself: "+server.URL+"/self") || strings.Contains(out, "CANARY") {
		t.Errorf("said %.600s", out)
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("asked %d times", n)
	}
}

// Links in a root lead an absolute path to the root's own, wherever else the
// name may exist: for files, keys of users, units and mount points.
func TestLinksOutOfTheRootAreItsOwn(t *testing.T) {
	_, ours := needs(t)
	outside := t.TempDir()
	out := inNamespace(t, ours, `mkdir -p root/etc/systemd root/home/ada &&
printf 'root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n' > root/etc/passwd && printf 'root:x:0:\nada:x:1000:\n' > root/etc/group && chown -R 1000:1000 root/home/ada &&
ln -s `+outside+` root/home/ada/.ssh && ln -s `+outside+` root/etc/systemd/system && ln -s ../../../../../../..`+outside+` root/up`,
		`{"ignition":{"version":"3.4.0"},"passwd":{"users":[{"name":"ada","sshAuthorizedKeys":["ssh-ed25519 AAAA"]}]},
"systemd":{"units":[{"name":"a.service","contents":"[Unit]\n"},{"name":"b.service","mask":true}]},
"storage":{"files":[{"path":"/up/f","contents":{"source":"data:,x"}}],"directories":[{"path":"/up/d"}],"links":[{"path":"/up/l","target":"/etc/passwd"}]}}`)
	left, err := os.ReadDir(outside)
	check(t, err)
	if len(left) > 0 {
		t.Errorf("left %v outside, and said %.600s", left, out)
	}
	// The user may not make the folder that its link leads to in the root.
	if !strings.Contains(out, "$.passwd.users[0]: user ada: sshAuthorizedKeys:") {
		t.Errorf("said %.600s", out)
	}
}

func TestAFullDiskKeepsTheKeysThatWereThere(t *testing.T) {
	_, ours := needs(t)
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprintf(`"ssh-ed25519 %d%s"`, i, strings.Repeat("A", 500)))
	}
	out := inNamespace(t, ours, `mount -t tmpfs -o size=64k none root && mkdir -p root/etc root/root/.ssh/authorized_keys.d && echo before > root/root/.ssh/authorized_keys.d/ignition &&
printf 'root:x:0:0::/root:/bin/sh\n' > root/etc/passwd && printf 'root:x:0:\n' > root/etc/group && trap 'cat root/root/.ssh/authorized_keys.d/*' EXIT`,
		`{"ignition":{"version":"3.4.0"},"passwd":{"users":[{"name":"root","sshAuthorizedKeys":[`+strings.Join(keys, ",")+`]}]}}`)
	if !strings.Contains(out, "no space left on device") || !strings.Contains(out, "\nbefore\n") || strings.Contains(out, "AAAA") {
		t.Errorf("said %.600s", out)
	}
}
