package initramfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An engine that says its stage, and fails in the one that /fails has.
const engine = `#!/bin/sh
echo "$2" >>/log
if [ -e /remote ] && [ "$2" = fetch-offline ]; then mkdir -p /run/ignition && echo >/run/ignition/neednet; fi
[ "$2" != "$(cat /fails)" ]
`

// Nothing comes after a reboot.
const rebooting = `#!/bin/sh
echo reboot >>/log
kill -9 $PPID
`

// configure is for Debian's function, which ends its shell where no server
// gives an address.
const configure = `. /scripts/debian
configure_networking() { echo network >>/log; exit 1; }
`

// script runs one of the guide's in a root of its own, with Debian's functions,
// and gives what it called. The console is at its end: a shell there is left.
func script(t *testing.T, name, line, fails, panics string, remote bool) string {
	t.Helper()
	functions, err := os.ReadFile("/usr/share/initramfs-tools/scripts/functions")
	busybox, err2 := os.ReadFile("/bin/busybox")
	if err != nil || err2 != nil || os.Getuid() != 0 {
		t.Skip("runs scripts with Debian's functions, as root: run make test")
	}
	dir := t.TempDir()
	files := map[string]string{"script": guide(t)[name], "scripts/debian": string(functions), "scripts/functions": configure,
		"bin/busybox": string(busybox), "bin/ignition": engine, "bin/reboot": rebooting, "bin/mount": "#!/bin/sh\n",
		"proc/cmdline": line, "proc/consoles": "null -W- (E p a)\n", "dev/null": "", "dev/console": "", "fails": fails, "log": "", "run/x": ""}
	if remote {
		files["remote"] = ""
	}
	for at, text := range files {
		at = filepath.Join(dir, at)
		check(t, os.MkdirAll(filepath.Dir(at), 0o755))
		check(t, os.WriteFile(at, []byte(text), 0o755))
	}
	for _, applet := range []string{"sh", "grep", "cat", "mkdir", "setsid", "sleep", "kill"} {
		check(t, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
	}
	// Processes of its own: a reboot that is a real one ends those.
	run := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--kill-child", "chroot", dir, "/bin/sh", "-c", "/script; true")
	run.Env = []string{"PATH=/usr/sbin:/usr/bin:/bin", "panic=" + panics, "quiet=n", "rootmnt=/root"}
	said, err := run.CombinedOutput()
	called, err2 := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || err2 != nil {
		t.Fatalf("%v, %v: %s", err, err2, said)
	}
	return strings.Join(strings.Fields(string(called)), " ")
}

func TestTheNetworkIsSetUpForAConfigOrAReport(t *testing.T) {
	const top, first = "scripts/local-top/ignition", "root=/dev/vda ignition.firstboot"
	for _, c := range []struct {
		line, want string
		remote     bool
	}{
		{"root=/dev/vda", "", true},
		{first, "fetch-offline kargs disks", false},
		{first, "fetch-offline network fetch kargs disks", true},
		{first + " ignition.report.url=https://a/b", "network fetch-offline kargs disks", false},
	} {
		if got := script(t, top, c.line, "", "", c.remote); got != c.want {
			t.Errorf("%s: called %q, want %q", c.line, got, c.want)
		}
	}
}

// Neither another stage nor the root: also once somebody left the shell that
// Debian gives, and where a reboot that it tries comes back.
func TestNothingComesAfterAStageThatFailed(t *testing.T) {
	const line = "ignition.firstboot"
	for _, c := range []struct{ script, fails, panics, want string }{
		{"local-top", "fetch-offline", "", "fetch-offline reboot"},
		{"local-top", "disks", "", "fetch-offline kargs disks reboot"},
		{"local-top", "fetch-offline", "-1", "fetch-offline reboot reboot"},
		{"local-bottom", "mount", "", "mount reboot"},
		{"local-bottom", "", "", "mount files umount"},
	} {
		if got := script(t, "scripts/"+c.script+"/ignition", line, c.fails, c.panics, false); got != c.want {
			t.Errorf("%s, stage %s: called %q, want %q", c.script, c.fails, got, c.want)
		}
	}
}
