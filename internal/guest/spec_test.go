package guest

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

func TestProcessOverridesTheImageAsDockerRunDoes(t *testing.T) {
	image := v1.ImageConfig{Entrypoint: []string{"/e"}, Cmd: []string{"c"}}
	for want, p := range map[string]api.Process{
		"/e c":   {},
		"/e a b": {Args: []string{"a", "b"}},
		"/n":     {Entrypoint: []string{"/n"}},
		"/n a":   {Entrypoint: []string{"/n"}, Args: []string{"a"}},
	} {
		if got := strings.Join(spec{image: image, process: p}.args(), " "); got != want {
			t.Errorf("%+v: got %q, want %q", p, got, want)
		}
	}
	if _, err := (spec{}).build(); err == nil {
		t.Error("a container with nothing to run was accepted")
	}
}

func TestLaterVariablesReplaceEarlierOnes(t *testing.T) {
	got := spec{
		image: v1.ImageConfig{Env: []string{"PATH=/bin", "A=1", "B=1"}}, process: api.Process{Env: []string{"A=2", "C=x=y"}},
		user: user{home: "/home/u"}, hostname: "h",
	}.env()
	want := []string{"PATH=/bin", "HOME=/home/u", "HOSTNAME=h", "A=2", "B=1", "C=x=y"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestContainerIsConfined(t *testing.T) {
	const tpm = "/sys/devices/tpm/tpm0"
	s, err := spec{image: v1.ImageConfig{Cmd: []string{"/x"}}, user: user{uid: 5}, masked: []string{tpm}}.build()
	if err != nil {
		t.Fatal(err)
	}
	c := s.Process.Capabilities
	if !s.Process.NoNewPrivileges || len(c.Effective)+len(c.Permitted)+len(c.Inheritable)+len(c.Ambient) != 0 {
		t.Errorf("an ordinary user has privileges: %+v", c)
	}
	for _, forbidden := range []string{"CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_RAWIO", "CAP_BPF", "CAP_NET_RAW", "CAP_MKNOD"} {
		if slices.Contains(c.Bounding, forbidden) {
			t.Errorf("%s is within reach", forbidden)
		}
	}
	for _, m := range s.Mounts {
		if m.Destination != "/dev" && !slices.Contains(m.Options, "noexec") {
			t.Errorf("%s may hold programs: %v", m.Destination, m.Options)
		}
	}
	if d := s.Linux.Resources.Devices; len(d) != 1 || d[0].Allow || d[0].Access != "rwm" {
		t.Errorf("devices: got %+v, want all denied", d)
	}
	if f := s.Linux.Seccomp; f == nil || !slices.Contains(f.Syscalls[0].Names, "unshare") || f.Syscalls[0].Action != specs.ActErrno {
		t.Errorf("seccomp: got %+v", f)
	}
	if len(s.Linux.Devices) != 0 {
		t.Errorf("got devices %+v, want none", s.Linux.Devices)
	}
	for _, path := range []string{"/proc/kcore", "/sys/firmware", tpm} {
		if !slices.Contains(s.Linux.MaskedPaths, path) {
			t.Errorf("%s shows through", path)
		}
	}
}

func TestDangerousCallsAreFiltered(t *testing.T) {
	s, err := spec{image: v1.ImageConfig{Cmd: []string{"/x"}}}.build()
	if err != nil {
		t.Fatal(err)
	}
	filter := s.Linux.Seccomp
	if filter == nil || len(filter.Architectures) != 3 {
		t.Fatalf("got filter %+v, want one for each way into the kernel", filter)
	}
	denied := map[string]bool{}
	for _, rule := range filter.Syscalls {
		if rule.Action != specs.ActErrno || rule.ErrnoRet == nil {
			t.Errorf("%v: got %s, want an error", rule.Names, rule.Action)
		}
		for _, name := range rule.Names {
			denied[name] = true
		}
	}
	for _, name := range []string{
		"unshare", "setns", "clone", "clone3", "mount", "bpf", "keyctl", "userfaultfd", "io_uring_setup",
		"init_module", "finit_module", "kexec_load", "open_by_handle_at", "perf_event_open", "process_vm_readv",
	} {
		if !denied[name] {
			t.Errorf("%s is within reach", name)
		}
	}
}

func TestUsersAreFoundInTheImage(t *testing.T) {
	needRoot(t)
	_, tree := unpacked(t, archive(t,
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbroken\nredis:x:999:998::/var/lib/redis:/none\n"),
		file("etc/group", "redis:x:998:\nssl:x:110:other,redis\nempty:x:1:\n")))
	redis := user{999, 998, []uint32{110}, "/var/lib/redis"}
	for name, want := range map[string]user{
		"":            {0, 0, nil, "/root"},
		"redis":       redis,
		"999":         redis,
		"redis:ssl":   {999, 110, nil, "/var/lib/redis"},
		"12345":       {12345, 0, nil, ""},
		"12345:54321": {12345, 54321, nil, ""},
		"0:0":         {0, 0, nil, "/root"},
		"root:redis":  {0, 998, nil, "/root"},
	} {
		got, err := lookUp(tree, name)
		if err != nil || got.uid != want.uid || got.gid != want.gid || got.home != want.home || !slices.Equal(got.groups, want.groups) {
			t.Errorf("%q: got %+v, %v, want %+v", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"nobody": `no user "nobody"`, "redis:wheel": `no group "wheel"`, "-1": `no user`, "4294967296": "no user", "0:": "no group"} {
		if _, err := lookUp(tree, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

func TestAccountsAreNotReadFromOutside(t *testing.T) {
	needRoot(t)
	for name, entries := range map[string][]tar.Header{
		"symlink": {symlink("etc", "../../../../etc")},
		"pipe":    {folder("etc"), {Name: "etc/passwd", Typeflag: tar.TypeFifo}},
	} {
		rootfs, err := apply(t, archive(t, entries...))
		if err != nil {
			t.Fatal(err)
		}
		tree, err := openTree(rootfs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lookUp(tree, "daemon"); err == nil {
			t.Errorf("%s: the host's daemon was found", name)
		}
		_ = tree.Close()
	}
}

func TestSecretsAreTheUsersAlone(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := writeSecrets(dir, user{uid: 999, gid: 998}, map[string][]byte{"password": []byte("p")}); err != nil {
		t.Fatal(err)
	}
	var s unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "password"), &s); err != nil {
		t.Fatal(err)
	}
	if s.Mode&0o7777 != 0o400 || s.Uid != 999 || s.Gid != 998 {
		t.Errorf("got mode %o of %d:%d, want 400 of 999:998", s.Mode&0o7777, s.Uid, s.Gid)
	}
	for _, name := range []string{"", ".", "..", "a/b", "/a", strings.Repeat("x", 256)} {
		if checkSecretName(name) == nil {
			t.Errorf("secret name %q was accepted", name)
		}
	}
}

func TestEndIsToldAsShellsDo(t *testing.T) {
	for status, want := range map[unix.WaitStatus]api.ExitDetail{
		0:         {},
		7 << 8:    {Code: 7},
		9:         {Code: 137, Signal: "SIGKILL"},
		11 | 0x80: {Code: 139, Signal: "SIGSEGV"},
	} {
		if got := exitDetail(status, false); got != want {
			t.Errorf("%x: got %+v, want %+v", uint32(status), got, want)
		}
	}
}

func TestOOMIsReadFromTheCgroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory.events")
	if oomKilled(path) {
		t.Error("a cgroup that is gone has killed")
	}
	for content, want := range map[string]bool{"low 0\noom 1\noom_kill 0\n": false, "oom 3\noom_kill 2\noom_group_kill 0\n": true} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := oomKilled(path); got != want {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

func TestStopSignalIsTheImages(t *testing.T) {
	for text, want := range map[string]unix.Signal{"": unix.SIGTERM, "SIGQUIT": unix.SIGQUIT, "INT": unix.SIGINT, "3": unix.SIGQUIT, "99": unix.SIGTERM, "x": unix.SIGTERM} {
		if got := stopSignal(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestMemoryOfItsOwnIsMountedBelowWhatTheGuestBinds(t *testing.T) {
	c, err := spec{
		image: v1.ImageConfig{Cmd: []string{"/x"}}, process: api.Process{ReadOnly: true, Workdir: "/srv/./a"},
		tmpfs: []api.Tmpfs{{Path: "/run/x", Size: 8192, NoExec: true}, {Path: "/run", Size: 1 << 20, Mode: "0700"}},
		binds: []specs.Mount{bind("/b", "/run/secrets")},
	}.build()
	if err != nil {
		t.Fatal(err)
	}
	if !c.Root.Readonly || c.Process.Cwd != "/srv/a" {
		t.Errorf("got root %+v and folder %s", c.Root, c.Process.Cwd)
	}
	var got []string
	for _, m := range c.Mounts[len(kernelMounts()):] {
		got = append(got, m.Destination+" "+strings.Join(m.Options, ","))
	}
	want := []string{
		"/run nosuid,nodev,mode=0700,size=1048576", "/run/x nosuid,nodev,mode=1777,size=8192,noexec", "/run/secrets bind,nosuid,nodev",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestVolumesOfAnImageStayWritable(t *testing.T) {
	needRoot(t)
	rootfs, tree := unpacked(t, archive(t, symlink("data", "/srv/real"), file("srv/real/x", "kept")))
	s := spec{image: v1.ImageConfig{Volumes: map[string]struct{}{"/data": {}, "/new": {}, "/proc/x": {}, "../../etc": {}}}}
	if mounts, err := writableVolumes(tree, s); err != nil || len(mounts) > 0 {
		t.Errorf("writable root: got %v and %v, want nothing to do", mounts, err)
	}
	s.process.ReadOnly = true
	mounts, err := writableVolumes(tree, s)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range mounts {
		got[m.Destination] = strings.TrimPrefix(m.Source, rootfs)
	}
	if len(got) != 3 || got["/data"] != "/srv/real" || got["/new"] != "/new" || got["/etc"] != "/etc" {
		t.Errorf("got %v", got)
	}
}

func TestAFolderThatIsMountedOverHasTheMountsMode(t *testing.T) {
	needRoot(t)
	rootfs, tree := unpacked(t, archive(t, symlink("var", "/srv"), file("srv/x", "hidden"), file("etc/passwd", "")))
	list := []api.Tmpfs{{Path: "/var", Size: 8192}, {Path: "/new/deep", Size: 8192, Mode: "0750"}}
	if err := prepareTmpfs(tree, list); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{"srv": 0o777 | os.ModeSticky, "new/deep": 0o750} {
		info, err := os.Stat(filepath.Join(rootfs, path))
		if err != nil || info.Mode()&^os.ModeDir != want {
			t.Errorf("%s: got %v and %v, want %v", path, info.Mode(), err, want)
		}
	}
	if err := prepareTmpfs(tree, []api.Tmpfs{{Path: "/etc/passwd", Size: 8192}}); err == nil {
		t.Error("a file was taken for a folder")
	}
}
