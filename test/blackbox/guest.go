// Package blackbox runs the tests that upstream's engine has to pass on ours.
//
// They are upstream's own program, unmodified. They make disks on loop devices,
// so they run in a machine whose kernel reads partition tables and has md and
// dm: Debian's, with an initramfs of the tools that are installed here.
package blackbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"holdfast/internal/boot/cpio"
	"holdfast/internal/boot/kmod"
)

// tools are what the tests call, and what the engine may.
var tools = []string{"sgdisk", "losetup", "mount", "umount", "udevadm", "blkid", "wipefs", "dmsetup", "partx", "cp",
	"mke2fs", "mkfs.ext4", "tune2fs", "mkfs.fat", "mkfs.xfs", "mkfs.btrfs", "mkswap", "swapon", "mdadm", "cryptsetup",
	"/usr/lib/systemd/systemd-udevd", "/usr/lib/udev/scsi_id", "/usr/lib/udev/ata_id"}

var modules = []string{"loop", "ext4", "vfat", "nls_iso8859-1", "nls_cp437", "nls_ascii", "xfs", "btrfs", "raid0", "raid1", "raid456", "raid10",
	"dm-mod", "dm-crypt", "af_alg", "algif_skcipher", "algif_hash", "xts", "ecb", "sha256_generic", "tpm_tis", "tpm_crb"}

// A guest is the files of its initramfs by their names.
type guest struct {
	files map[string]cpio.Entry
	order []string
}

// newGuest has merged /usr, as Debian.
func newGuest() *guest {
	g := &guest{files: map[string]cpio.Entry{}}
	for _, dir := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		g.folder(dir)
		g.add(cpio.Symlink(path.Base(dir), dir))
	}
	for _, dir := range []string{"proc", "sys", "tmp", "run", "var/tmp", "root", "etc/ko", "usr/local/bin"} {
		g.folder(dir)
	}
	return g
}

func (g *guest) add(e cpio.Entry) {
	if _, ok := g.files[e.Name]; ok {
		return
	}
	if dir := path.Dir(e.Name); dir != "." {
		g.folder(dir)
	}
	g.files[e.Name] = e
	g.order = append(g.order, e.Name)
}

func (g *guest) folder(name string) {
	if _, ok := g.files[name]; !ok && name != "dev" {
		g.add(cpio.Dir(name, 0o755))
	}
}

func (g *guest) text(name, content string, mode uint32) {
	g.add(cpio.File(name, mode, int64(len(content)), strings.NewReader(content)))
}

func (g *guest) entries() []cpio.Entry {
	list := make([]cpio.Entry, len(g.order))
	for i, name := range g.order {
		list[i] = g.files[name]
	}
	return list
}

// copy takes a file of this machine to a path in the guest.
func (g *guest) copy(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	g.add(cpio.File(strings.TrimPrefix(to, "/"), 0o755, int64(len(raw)), bytes.NewReader(raw)))
	return nil
}

// installed takes a file under its name, in the folder that this really is.
func (g *guest) installed(name string) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err != nil {
		return err
	}
	return g.copy(name, filepath.Join(dir, filepath.Base(name)))
}

// program takes one with the libraries that it is linked with.
func (g *guest) program(name string) error {
	at, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := g.installed(at); err != nil {
		return err
	}
	return g.libraries(at)
}

var library = regexp.MustCompile(`(/\S+) \(0x`)

func (g *guest) libraries(program string) error {
	out, err := exec.Command("ldd", program).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // one without any exits with 1
		return err
	}
	for _, m := range library.FindAllSubmatch(out, -1) {
		if err := g.installed(string(m[1])); err != nil {
			return err
		}
	}
	return nil
}

// kernelModules puts them and the order to load them in.
func (g *guest) kernelModules(dir string) error {
	tree, err := kmod.Open(os.DirFS(dir))
	if err != nil {
		return err
	}
	list, err := tree.Resolve(modules...)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range list {
		f, err := tree.Open(m)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		g.add(cpio.File("etc/ko/"+m.Name+".ko", 0o644, int64(len(raw)), bytes.NewReader(raw)))
		names = append(names, m.Name)
	}
	g.text("etc/modules", strings.Join(names, "\n")+"\n", 0o644)
	return nil
}

// compose is the whole guest: engine and tests are paths here.
func compose(modules, engine, tests string, args []string) (*guest, error) {
	g := newGuest()
	if err := g.kernelModules(modules); err != nil {
		return nil, err
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install busybox-static", err)
	}
	errs := errors.Join(g.copy(busybox, "usr/bin/busybox"), g.copy(engine, "usr/local/bin/ignition"), g.copy(tests, "blackbox.test"), g.libraries(tests))
	for _, name := range tools {
		errs = errors.Join(errs, g.program(name))
	}
	// The tests copy this from where other distributions have it.
	nss, _ := filepath.Glob("/lib/*-linux-gnu/libnss_files.so.2")
	for _, lib := range nss {
		errs = errors.Join(errs, g.copy(lib, "usr/lib64/libnss_files.so.2"))
	}
	rules, _ := filepath.Glob("/usr/lib/udev/rules.d/*")
	for _, rule := range rules {
		if slices.ContainsFunc([]string{"50-udev-default", "55-dm", "60-block", "60-persistent-storage.", "60-persistent-storage-dm", "md-raid", "95-dm"},
			func(s string) bool { return strings.Contains(rule, s) }) {
			errs = errors.Join(errs, g.copy(rule, rule))
		}
	}
	g.text("usr/local/bin/sudo", "#!/bin/busybox sh\nexec \"$@\"\n", 0o755)
	g.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	g.text("etc/group", "root:x:0:\n", 0o644)
	g.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644)
	g.text("etc/hosts", "127.0.0.1 localhost\n", 0o644)
	g.text("etc/args", strings.Join(args, "\n")+"\n", 0o644)
	return g, errs
}
