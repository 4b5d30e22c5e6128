package supervise

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// caged says what a script writes in a sandbox.
func caged(t *testing.T, p Process, script string) []string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may have mounts of its own: run this as root")
	}
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, Process: p, Start: sh(script)})
	b.reaches("a", Active)
	b.end()
	var lines []string
	for _, l := range b.wrote() {
		lines = append(lines, strings.TrimPrefix(l, "a: "))
	}
	return lines
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("got %q, want %q", got, lines)
	}
}

func TestPathsAreReadOnlyOrHiddenButForThoseWithin(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"ro/rw/ro", "hidden/rw", "empty"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.WriteFile(filepath.Join(dir, "hidden/f"), []byte("secret"), 0o644), os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o644),
		os.WriteFile(filepath.Join(dir, "empty/f"), nil, 0o644), os.Symlink("ro", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	got := caged(t, Process{Dir: at("ro"), Sandbox: Sandbox{Access: []Access{
		{at("ro/rw/ro"), ReadOnly, false}, {at("link"), ReadOnly, false}, {at("ro/rw"), ReadWrite, false}, {at("hidden"), Hidden, false}, {at("hidden/rw"), ReadWrite, false},
		{at("secret"), Hidden, false}, {at("empty"), Empty, false}, {at("absent"), Hidden, true}}}},
		`cd `+dir+`; for d in ro ro/rw ro/rw/ro hidden empty .; do touch $d/new 2>/dev/null && echo $d; done; ls -A hidden empty | grep f; cat secret; cd ro; cd "$OLDPWD"; cd -; touch here 2>/dev/null && echo here; exit 0`)
	want(t, got, "ro/rw", ".", at("ro"))
	if _, err := os.Stat(at("hidden/f")); err != nil {
		t.Errorf("outside it is gone: %v", err)
	}
}

// Whichever of them comes first, and by whichever name (systemd.exec(5),
// ReadWritePaths=).
func TestOfTwoModesOfOnePathTheStricterCounts(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a", "b", "c"} {
		if err := errors.Join(os.Mkdir(at(name), 0o755), os.WriteFile(at(name+"/f"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", at("link")); err != nil {
		t.Fatal(err)
	}
	got := caged(t, Process{Sandbox: Sandbox{Access: []Access{{at("a"), ReadOnly, false}, {at("link"), ReadWrite, false},
		{at("b"), Hidden, false}, {at("b"), ReadOnly, false}, {at("c"), ReadWrite, false}, {at("c"), Empty, false}}}},
		`cd `+dir+`; touch a/new 2>/dev/null; ls -A a b c`)
	want(t, got, "a:", "f", "", "b:", "", "c:")
}

// A power cut leaves them; names in /var/tmp are anybody's.
func TestPrivateFoldersOfEarlierBootsAreSwept(t *testing.T) {
	const boot, earlier = "0123456789abcdef0123456789abcdef", "00000000000000000000000000000001"
	at := t.TempDir()
	for name, mode := range map[string]os.FileMode{"private-" + earlier + "-a.service-1/tmp": 0o700, "private-" + boot + "-a.service-1/tmp": 0o700,
		"private-" + earlier + "-open/tmp": 0o755, "private-a-1/tmp": 0o700} {
		if err := errors.Join(os.MkdirAll(filepath.Join(at, name), 0o755), os.Chmod(filepath.Join(at, filepath.Dir(name)), mode)); err != nil {
			t.Fatal(err)
		}
	}
	keep := []string{"private-" + earlier + "-link", "private-" + earlier + "-open", "private-" + boot + "-a.service-1", "private-a-1"}
	if err := os.Symlink("private-a-1", filepath.Join(at, keep[0])); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		theirs := "private-" + earlier + "-theirs"
		if err := errors.Join(os.Mkdir(filepath.Join(at, theirs), 0o700), os.Chown(filepath.Join(at, theirs), 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		keep = append(keep, theirs)
	}
	if err := sweep(at, boot); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range left {
		got = append(got, e.Name())
	}
	slices.Sort(keep)
	want(t, got, keep...)
	if _, err := os.Stat(filepath.Join(at, "private-a-1/tmp")); err != nil {
		t.Error(err)
	}
}

// The supervisor does so before it starts anything.
func TestASupervisorSweeps(t *testing.T) {
	dir := "/var/tmp/private-" + strings.Repeat("0", 32) + "-holdfast-test-1"
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, Start: sh("ls -d " + dir + " 2>/dev/null; echo ran")})
	b.says("a: ran")
	want(t, b.wrote(), "a: ran")
}

func TestAPrivateTmpMayBeReadOnly(t *testing.T) {
	got := caged(t, Process{Sandbox: Sandbox{PrivateTmp: true, Access: []Access{{"/var/tmp", ReadOnly, false}}}},
		`touch /var/tmp/new 2>/dev/null && echo new; ls -A /var/tmp; touch /tmp/new && echo tmp`)
	want(t, got, "tmp")
}

// A service begins in its folder as the sandbox has it, not as it was before.
func TestNoFolderIsHeldFromBeforeTheSandbox(t *testing.T) {
	dir := t.TempDir()
	got := caged(t, Process{Dir: dir, Sandbox: Sandbox{Access: []Access{{dir, ReadOnly, false}}}}, "touch new 2>/dev/null && echo written; pwd")
	want(t, got, dir)
}

func TestAllIsReadOnlyButWhatIsNamed(t *testing.T) {
	dir := t.TempDir()
	got := caged(t, Process{Folders: []Folder{{Variable: "STATE_DIRECTORY", Path: dir, Mode: 0o755}}, Sandbox: Sandbox{Access: []Access{
		{"/", ReadOnly, false}, {"/proc", ReadWrite, false}, {"/sys", ReadWrite, false}, {"/dev", ReadWrite, false}, {dir, ReadWrite, false}}}},
		"touch /usr/new /etc/new /var/new /run/new /tmp/new 2>/dev/null; ls /usr/new /etc/new /var/new /run/new /tmp/new 2>/dev/null; echo x > $STATE_DIRECTORY/f && cat $STATE_DIRECTORY/f; echo y > /dev/null && echo y")
	want(t, got, "x", "y")
}

func TestAPrivateTmpIsOfOneStart(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may have mounts of its own: run this as root")
	}
	before, _ := filepath.Glob("/tmp/private-*")
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, Process: Process{User: "nobody", Sandbox: Sandbox{PrivateTmp: true, Access: []Access{{"/", ReadOnly, false}}}},
		StartPre: sh("echo mine > /tmp/f; echo theirs > /var/tmp/f"), Start: sh("ls -A /tmp; cat /tmp/f /var/tmp/f; stat -c %a /tmp")})
	b.reaches("a", Active)
	b.says("a: 1777")
	if _, err := os.Stat("/tmp/f"); err == nil {
		t.Error("what it wrote is in the machine's own")
	}
	b.end()
	want(t, b.wrote(), "a: f", "a: mine", "a: theirs", "a: 1777")
	if after, _ := filepath.Glob("/tmp/private-*"); len(after) > len(before) {
		t.Errorf("left %q", after)
	}
}

func TestPrivateDevicesAreNoHardware(t *testing.T) {
	got := caged(t, Process{Sandbox: Sandbox{PrivateDevices: true, Dropped: 1 << unix.CAP_MKNOD}},
		"echo x > /dev/null && head -c 3 /dev/zero | wc -c; ls /dev/loop0 /dev/kmsg /dev/sda /dev/vda /dev/mem 2>/dev/null; touch /dev/new 2>/dev/null && echo new; mknod /tmp/holdfast-node-test b 7 0 2>/dev/null && echo made; ls -l /dev/stdout | sed 's/.*-> //'")
	want(t, got, "3", "/proc/self/fd/1")
}

func TestCapabilitiesAreDroppedAndKept(t *testing.T) {
	const bits = "grep -E '^Cap(Bnd|Amb|Eff)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '; echo"
	keep := uint64(1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_CHOWN)
	t.Run("root", func(t *testing.T) {
		got := caged(t, Process{Sandbox: Sandbox{Dropped: ^keep}}, bits)
		want(t, got, "CapEff:0000000000000401 CapBnd:0000000000000401 CapAmb:0000000000000000 ")
	})
	t.Run("nobody", func(t *testing.T) {
		got := caged(t, Process{User: "nobody", NoNewPrivs: true, Sandbox: Sandbox{Dropped: ^keep, Ambient: 1 << unix.CAP_NET_BIND_SERVICE}}, bits)
		want(t, got, "CapEff:0000000000000400 CapBnd:0000000000000401 CapAmb:0000000000000400 ")
	})
}

func TestPrivilegedCommandsAreOutsideTheSandbox(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("only root may have mounts of its own: run this as root")
	}
	touch := func(name string) []Command {
		return sh("id -un; touch " + filepath.Join(dir, name) + " && echo " + name + "; exit 0")
	}
	free, raised := touch("free"), touch("raised")
	free[0].Privileged, raised[0].Elevated = true, true
	b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, StartPre: append(free, raised...), Start: touch("held"),
		Process: Process{User: "nobody", Stderr: Output{Kind: ToNull}, Sandbox: Sandbox{Access: []Access{{dir, ReadOnly, false}}}}})
	b.reaches("a", Active)
	b.end()
	want(t, b.wrote(), "a: root", "a: free", "a: root", "a: nobody")
}

// What a sandbox implies holds those who are another user, and what is said holds
// all but the privileged.
func TestWhoMayGainPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may become another user: run this as root")
	}
	gain := func(name string) []Command { return sh("echo " + name + " $(grep NoNewPrivs /proc/self/status)") }
	free, raised := gain("free"), gain("raised")
	free[0].Privileged, raised[0].Elevated = true, true
	for name, c := range map[string]struct {
		process Process
		want    []string
	}{
		"implied": {Process{User: "nobody", Sandbox: Sandbox{NoGain: true}}, []string{"free NoNewPrivs: 0", "raised NoNewPrivs: 0", "held NoNewPrivs: 1"}},
		"of root": {Process{User: "root", Sandbox: Sandbox{NoGain: true}}, []string{"free NoNewPrivs: 0", "raised NoNewPrivs: 0", "held NoNewPrivs: 0"}},
		"said":    {Process{User: "root", NoNewPrivs: true}, []string{"free NoNewPrivs: 0", "raised NoNewPrivs: 1", "held NoNewPrivs: 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := supervise(t, "a", Service{Name: "a", Kind: Oneshot, RemainAfter: true, StartPre: append(slices.Clone(free), raised...), Start: gain("held"), Process: c.process})
			b.reaches("a", Active)
			b.end()
			for i := range c.want {
				c.want[i] = "a: " + c.want[i]
			}
			want(t, b.wrote(), c.want...)
		})
	}
}

func TestAPathThatIsNotThereFailsTheService(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may have mounts of its own: run this as root")
	}
	b := supervise(t, "a", Service{Name: "a", Start: sh(forever), Process: Process{Sandbox: Sandbox{Access: []Access{{"/absent", ReadWrite, false}}}}})
	if s := b.reaches("a", Failed); s.Exit == nil || s.Exit.Code != ExitLaunch {
		t.Errorf("got %+v, want code %d", s, ExitLaunch)
	}
	b.says("a: sandbox: lstat /absent: no such file or directory")
}

func TestWhatOfProcIsThereIsChosen(t *testing.T) {
	got := caged(t, Process{Sandbox: Sandbox{Proc: "subset=pid"}}, "test -e /proc/self/status && echo processes; test -e /proc/meminfo && echo memory; exit 0")
	want(t, got, "processes")
}

// What docs/formats/units.md says of a service of root.
func TestMountsHoldRootThatMayNeitherTraceNorMount(t *testing.T) {
	dir := t.TempDir()
	past := "touch /proc/$PPID/root" + dir + "/new 2>/dev/null && echo past; umount " + dir + " 2>/dev/null && touch " + dir + "/new && echo unmounted; exit 0"
	for name, c := range map[string]struct {
		dropped uint64
		want    []string
	}{"with": {0, []string{"past", "unmounted"}}, "without": {1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_ADMIN, nil}} {
		t.Run(name, func(t *testing.T) {
			want(t, caged(t, Process{Sandbox: Sandbox{Dropped: c.dropped, Access: []Access{{dir, ReadOnly, false}}}}, past), c.want...)
		})
	}
}

// Of ProtectKernelTunables and ProtectHostname beside
// ProtectSystem=strict, as ignition/units has them.
func TestWhatIsSetInTheKernelIsReadOnly(t *testing.T) {
	got := caged(t, Process{Sandbox: Sandbox{Access: []Access{{"/proc/sys/kernel/hostname", ReadOnly, true}, {"/proc/kallsyms", Hidden, true}, {"/sys", ReadOnly, true},
		{"/", ReadOnly, true}, {"/proc", ReadWrite, true}, {"/sys", ReadWrite, true}}}},
		"for f in /proc/sys/kernel/hostname /sys/kernel /proc/sys/kernel/domainname; do test -w $f && echo $f; done; head -c 1 /proc/kallsyms")
	want(t, got, "/proc/sys/kernel/domainname")
}
