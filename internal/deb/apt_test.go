package deb

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// aptSets are what packages are asked for together.
var aptSets = strings.Split(strings.TrimSpace(`
redis-server
nginx
linux-image-cloud-amd64
postgresql
openssh-server
libreoffice
apache2 libapache2-mod-php
mariadb-server
systemd
bash coreutils util-linux
python3 python3-venv
python3-numpy python3-scipy
default-jre-headless
default-jdk
build-essential
gcc clang
golang
rustc cargo
ruby rails
php-fpm php-mysql
perl libwww-perl
nodejs npm
git git-lfs
docker.io
podman buildah skopeo
runc crun
containerd
qemu-system-x86 ovmf
libvirt-daemon-system
haproxy
squid
bind9 bind9-dnsutils
unbound
postfix dovecot-imapd
exim4
samba
nfs-kernel-server
cups
ffmpeg
imagemagick
gimp
vim emacs-nox
texlive-latex-base
r-base
octave
gnome-terminal
xfce4
cryptsetup lvm2 mdadm
prometheus grub-efi-amd64
busybox-static ca-certificates curl wget
`), "\n")

// aptTakesMore are sets of which apt's choice holds packages that nothing needs:
// it takes the first alternative of a dependency before it comes to a package
// that is needed anyhow and would have been another.
var aptTakesMore = []string{"cups", "gimp", "podman buildah skopeo"}

// TestResolverChoosesWhatAptChooses compares with apt on a machine on which
// nothing is installed, and without Recommends: for six sets by chance, or for
// all in a soak.
func TestResolverChoosesWhatAptChooses(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get: run it on Debian")
	}
	a, chance := realArchive(t), seeded(t)
	for _, suite := range []string{"bookworm", "trixie"} {
		sets := slices.Clone(aptSets)
		if !soak() {
			chance.Shuffle(len(sets), func(i, j int) { sets[i], sets[j] = sets[j], sets[i] })
			sets = sets[:6]
		}
		u, err := a.Indexes(t.Context(), suite, "amd64")
		must(t, err)
		apt := emptyApt(t, a, suite)
		for _, set := range sets {
			compareChoice(t, u, suite, strings.Fields(set), apt)
		}
	}
}

func compareChoice(t *testing.T, u *Universe, suite string, set []string, apt func(...string) []string) {
	t.Helper()
	ours, err := u.Resolve(Request{Packages: set})
	if err != nil {
		t.Errorf("%s %v: %v", suite, set, err)
		return
	}
	var got []string
	for _, p := range ours {
		got = append(got, p.String())
	}
	want := apt(set...)
	more, less := without(got, want), without(want, got)
	if slices.Contains(aptTakesMore, strings.Join(set, " ")) && len(more) == 0 {
		t.Logf("%s %v: %d packages; apt takes %q too", suite, set, len(got), less)
		return
	}
	if len(more)+len(less) > 0 {
		t.Errorf("%s %v: %d packages; we alone have %q, apt alone has %q", suite, set, len(got), more, less)
	}
}

// emptyApt gives apt's answer to the wish for packages, sorted. The machine's
// own lists and status are left alone, and so is its architecture.
func emptyApt(t *testing.T, a *Archive, suite string) func(names ...string) []string {
	root := t.TempDir()
	var sources strings.Builder
	for _, suite := range []string{suite, suite + "-updates", suite + "-security"} {
		for _, uri := range a.archives(suite) {
			fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", a.cfg.Keyring, uri, suite)
		}
	}
	conf := fmt.Sprintf("Dir::State %q; Dir::State::status \"/dev/null\"; Dir::Cache %[1]q; APT::Sandbox::User \"root\"; APT::Architecture \"amd64\"; APT::Architectures \"amd64\";\n"+
		"Dir::Etc::sourceparts \"/dev/null\"; Dir::Etc::sourcelist %q; APT::Install-Recommends \"false\";\n",
		root, filepath.Join(root, "list"))
	for name, text := range map[string]string{"list": sources.String(), "conf": conf} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		// Options win over the machine's configuration, which may switch these off.
		args = append(args, "-o=Dir::Cache::pkgcache=pkgcache.bin", "-o=Dir::Cache::srcpkgcache=srcpkgcache.bin", "-o=Acquire::GzipIndexes=false")
		cmd := exec.CommandContext(t.Context(), "apt-get", args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(root, "conf"), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("apt-get %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("update")
	return func(names ...string) []string {
		var list []string
		for line := range strings.Lines(run(append([]string{"install", "--simulate"}, names...)...)) {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "Inst" {
				list = append(list, f[1]+" "+strings.TrimPrefix(f[2], "("))
			}
		}
		return list
	}
}

func without(list, gone []string) []string {
	set := map[string]bool{}
	for _, s := range list {
		set[s] = true
	}
	for _, s := range gone {
		delete(set, s)
	}
	return slices.Sorted(maps.Keys(set))
}
