// Package initramfs has the engine called by an initramfs of others.
package initramfs

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/ignition/report"
	"holdfast/internal/machine/machinetest"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvciB0aGUgZXhhbXBsZSBvbmx5ISEhISEhISEhISE= core"

const more = `{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/etc/served","mode":420,"contents":{"source":"data:,served%0A"}}]}}`

const config = `{"ignition":{"version":"3.4.0","config":{"merge":[%s]}},
 "passwd":{"users":[{"name":"core","sshAuthorizedKeys":["` + key + `"]}]},
 "storage":{"disks":[{"device":"/dev/vdb","partitions":[{"number":1,"label":"data","sizeMiB":32}]}],
  "filesystems":[{"device":"/dev/disk/by-partlabel/data","format":"ext4","path":"/var/lib/data"}],
  "files":[{"path":"/var/lib/data/f","contents":{"source":"data:,on%%20the%%20second%%20disk%%0A"}}]},
 "systemd":{"units":[{"name":"a.service","enabled":true,"contents":"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"}]}}`

// init is the program that the root has.
const initScript = `#!/bin/busybox sh
echo "boot" >>/var/boots
mount -t ext4 -o ro /dev/vdb1 /mnt && cat /mnt/f
cat /etc/served /home/core/.ssh/authorized_keys.d/ignition
grep ^core: /etc/passwd
readlink /etc/systemd/system/multi-user.target.wants/a.service || cat /etc/systemd/system-preset/20-ignition.preset
echo "boots: $(wc -l </var/boots)"
poweroff -f
`

// A subject is a machine with a root and a disk that is empty, and an initramfs
// as Debian makes it of the guide's files.
type subject struct {
	image  string
	initrd []byte
	words  []string // QEMU's
	merge  string   // what its config takes from server
	server *server
}

func newSubject(t *testing.T) *subject {
	t.Helper()
	image, modules := machinetest.Kernel(t)
	if _, err := exec.LookPath("mkinitramfs"); err != nil || os.Getuid() != 0 {
		t.Skip("makes an initramfs as Debian does, as root: run make test")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	s := &subject{image: image, server: newServer(t)}
	s.initrd = pack(t, dir, image, modules, s.server.authority)
	s.merge = fmt.Sprintf(`{"source":%q,"verification":{"hash":"sha256-%x"}}`, s.server.url+"/more.ign", sha256.Sum256([]byte(more)))
	s.words = []string{"-fw_cfg", "name=opt/com.coreos/config,file=" + at("config.ign"), "-nic", "user,model=virtio-net-pci"}
	s.configure(t, s.merge)
	return s
}

// configure gives its machines a config.
func (s *subject) configure(t *testing.T, merge string) {
	t.Helper()
	_, path, _ := strings.Cut(s.words[1], "file=")
	check(t, os.WriteFile(path, fmt.Appendf(nil, config, merge), 0o600))
}

func (s *subject) commandLine() string {
	return "root=/dev/vda rw ignition.firstboot ignition.platform.id=qemu ip=dhcp panic=-1 ignition.report.url=" + s.server.url + "/report"
}

// disks are new ones.
func (s *subject) disks(t *testing.T) (words []string) {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	root(t, at("root"), at("root.img"))
	check(t, os.WriteFile(at("disk"), nil, 0o600))
	check(t, os.Truncate(at("disk"), 64<<20))
	return append(s.words[:len(s.words):len(s.words)], "-drive", "file="+at("root.img")+",format=raw,if=virtio", "-drive", "file="+at("disk")+",format=raw,if=virtio")
}

// good boots a machine, and wants all that the config says, and this.
func (s *subject) good(t *testing.T, more string, words []string) (said string, ok bool) {
	t.Helper()
	said = machinetest.Boot(t, s.image, s.initrd, s.commandLine(), words...)
	ok = !strings.Contains(said, "CRITICAL") && !strings.Contains(said, "udev may not be done")
	for _, want := range []string{"on the second disk", "served", key, "core:x:1000:", "a.service", more} {
		ok = ok && strings.Contains(said, want)
	}
	return said, ok
}

// The hook and scripts of the guide, packed by Debian's own mkinitramfs, make
// a machine of its root and a second disk, with what a server has that Debian's
// authorities vouch for. Booted so again they change nothing, and report that
// from a config that needs no network.
func TestADebianInitramfsAppliesAConfig(t *testing.T) {
	s := newSubject(t)
	words := s.disks(t)
	for boot, merge := range []string{s.merge, ""} {
		s.configure(t, merge)
		if said, ok := s.good(t, fmt.Sprintf("boots: %d", boot+1), words); !ok {
			t.Fatalf("boot %d: the machine said\n%s", boot+1, said)
		}
		reports := s.server.told()
		if len(reports) != boot+1 || reports[boot].Status != report.Done || slices.ContainsFunc(reports[boot].Stages, isFetch) != (boot == 0) {
			t.Errorf("boot %d: told %+v", boot+1, reports)
		}
	}
}

func isFetch(s report.Stage) bool { return s.Name == "fetch" }

// What a cut leaves is made whole by the next boot, or refused with the field.
func TestAPowerCutInADebianInitramfsIsMadeGoodOrRefused(t *testing.T) {
	if os.Getenv("HOLDFAST_SOAK") == "" {
		t.Skip("boots thirty machines: run make soak")
	}
	stages := []string{"files", "disks", "mount", "fetch", "umount"}
	s := newSubject(t)
	r := rand.New(rand.NewPCG(6, 6))
	for n := range 15 {
		stage, after := stages[n%len(stages)], time.Duration(r.IntN(1500))*time.Millisecond
		words := s.disks(t)
		machinetest.Cut(t, fmt.Sprintf("stage=%q", stage), after, s.image, s.initrd, s.commandLine(), words...)
		said, ok := s.good(t, "boots: ", words) // the cut may have come behind it all
		_, reason, refused := strings.Cut(said, "CRITICAL : Ignition failed: ")
		reason, _, _ = strings.Cut(reason, "\n")
		switch {
		case ok:
			t.Logf("cut %v behind the begin of stage %s: made good", after, stage)
		case refused && strings.Contains(reason, ": $."):
			t.Logf("cut %v behind the begin of stage %s: refused: %s", after, stage, reason)
		default:
			t.Errorf("cut %v behind the begin of stage %s: the machine said\n%s", after, stage, said)
		}
	}
}

// guide has the files of the chapter, by their names.
func guide(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/guide/initramfs.md")
	check(t, err)
	files := map[string]string{}
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		files[m[1]] = m[2]
	}
	return files
}

var block = regexp.MustCompile("(?s)```sh ([a-z/-]+)\n(.*?)```")

// pack makes the initramfs with the files of the guide, and few modules: less
// to unpack.
func pack(t *testing.T, dir, image, modules string, authority []byte) []byte {
	t.Helper()
	files := guide(t)
	files["modules"], files["initramfs.conf"] = "virtio_pci\nvirtio_blk\nvirtio_net\next4\n", "MODULES=list\nBUSYBOX=auto\nCOMPRESS=zstd\n"
	for name, text := range files {
		path := filepath.Join(dir, "conf", name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(text), 0o755))
	}
	program, err := machinetest.Program("holdfast/cmd/holdfast-node")
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "holdfast-node"), program, 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "ca-certificates.crt"), authority, 0o644))
	check(t, os.MkdirAll("/lib/modules", 0o755))
	check(t, os.MkdirAll("/etc/ssl/certs", 0o755))
	// The kernel lies elsewhere than an installed one, and has no list yet of
	// what its modules need; the authority is not one of Debian's.
	packs := exec.Command("unshare", "--mount", "sh", "-ec", `
mount -t tmpfs none /lib/modules && mkdir /lib/modules/$2 && cp -r "$1"/. /lib/modules/$2 && depmod $2
mount -t tmpfs none /boot && cp "$3" /boot
mount -t tmpfs none /usr/local/sbin && cp holdfast-node /usr/local/sbin
mount -t tmpfs none /etc/ssl/certs && cp ca-certificates.crt /etc/ssl/certs
mkinitramfs -d conf -o initrd $2`, "sh", modules, filepath.Base(modules), filepath.Join(filepath.Dir(image), "config-"+filepath.Base(modules)))
	packs.Dir = dir
	if out, err := packs.CombinedOutput(); err != nil {
		t.Fatalf("mkinitramfs: %v\n%s", err, out)
	}
	initrd, err := os.ReadFile(filepath.Join(dir, "initrd"))
	check(t, err)
	return initrd
}

// root is a system as small as can be, as a file system.
func root(t *testing.T, dir, image string) {
	t.Helper()
	for _, name := range []string{"bin", "sbin", "etc", "proc", "sys", "dev", "run", "tmp", "var", "mnt", "root", "home"} {
		check(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs busybox-static: run make test")
	}
	for name, text := range map[string]string{"bin/busybox": string(busybox), "sbin/init": initScript,
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:1:0:99999:7:::\n"} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	for _, applet := range []string{"sh", "mount", "cat", "grep", "readlink", "wc", "poweroff"} {
		check(t, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
	}
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 64<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", dir, image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
