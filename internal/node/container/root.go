package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"holdfast/internal/api"
)

const plain = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// A mount of the machine, below its new root.
type mount struct {
	kind, path string
	flags      uintptr
	options    string
}

var mounts = [...]mount{
	{"proc", "proc", plain, ""},
	{"sysfs", "sys", plain, ""},
	{"tmpfs", "dev", unix.MS_NOSUID, "mode=0755,size=1m"},
	{"tmpfs", "run", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	{"tmpfs", "tmp", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"devpts", "dev/pts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666"},
	{"tmpfs", "dev/shm", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"mqueue", "dev/mqueue", plain, ""},
}

// makeRoot composes the machine's file systems over m.Mount and makes them all
// that this process sees.
func makeRoot(m api.ContainerMachine) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	root, err := overlay(m)
	if err != nil {
		return fmt.Errorf("root from %s: %w", m.Tree, err)
	}
	for _, one := range mounts {
		if err := one.on(root); err != nil {
			return err
		}
	}
	if err := readOnly(filepath.Join(root, "sys")); err != nil {
		return err
	}
	if err := errors.Join(makeDevices(root), mountCgroups(root, m), keepSettings(root)); err != nil {
		return err
	}
	for _, b := range append(m.Binds, api.Bind{Source: "/proc/self/exe", Target: ownPath}) {
		if err := bind(root, b); err != nil {
			return fmt.Errorf("bind %s on %s: %w", b.Source, b.Target, err)
		}
	}
	if err := writeNames(root, m); err != nil {
		return err
	}
	return pivot(root)
}

func (m mount) on(root string) error {
	path := filepath.Join(root, m.path)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.kind, path, m.kind, m.flags, m.options); err != nil {
		return fmt.Errorf("mount %s on /%s: %w", m.kind, m.path, err)
	}
	return nil
}

// overlay is the tree with a layer in memory over it: what a node writes beside
// /var is gone when it ends.
func overlay(m api.ContainerMachine) (string, error) {
	if err := unix.Mount("tmpfs", m.Mount, "tmpfs", unix.MS_NODEV, "mode=0755"); err != nil {
		return "", err
	}
	upper, work, root := filepath.Join(m.Mount, "upper"), filepath.Join(m.Mount, "work"), filepath.Join(m.Mount, "root")
	for _, dir := range []string{upper, work, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	options := "lowerdir=" + escaped(m.Tree) + ",upperdir=" + escaped(upper) + ",workdir=" + escaped(work)
	return root, unix.Mount("overlay", root, "overlay", 0, options)
}

// escaped is a path as overlayfs's options want it (kernel's overlayfs.rst).
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// bind mounts b below root; what it covers is made when it is absent.
func bind(root string, b api.Bind) error {
	info, err := os.Stat(b.Source)
	if err != nil {
		return err
	}
	target := filepath.Join(root, b.Target)
	if err := makeTarget(target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(b.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if b.Writable {
		return nil
	}
	return readOnly(target)
}

// readOnly keeps whoever comes by this mount from writing.
func readOnly(path string) error {
	if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	return nil
}

func makeTarget(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// writeNames gives the machine its resolver and its hosts.
func writeNames(root string, m api.ContainerMachine) error {
	var resolv, hosts strings.Builder
	for _, ip := range m.Resolvers {
		fmt.Fprintf(&resolv, "nameserver %s\n", ip)
	}
	hosts.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, h := range m.Hosts {
		fmt.Fprintf(&hosts, "%s %s\n", h.Address, h.Name)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(root, "run/resolv.conf"), []byte(resolv.String()), 0o644),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte(hosts.String()), 0o644),
		os.WriteFile(filepath.Join(root, "etc/hostname"), []byte(m.Hostname+"\n"), 0o644))
}

// pivot makes root the root of all, and the host's gone. Mounts below it are shared,
// as kubelet wants them: what a pod's volume mounts, containers see.
func pivot(root string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := pivotHere(); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := takeNamespace(); err != nil {
		return fmt.Errorf("leave the root over the host's: %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
}

// pivotHere makes the working directory the root, and lets the old one go.
func pivotHere() error {
	if err := unix.PivotRoot(".", "."); err != nil { // the old one lies over it: pivot_root(2)
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return nil
}

// takeNamespace makes the root of this process that of its mount namespace. Where
// the host's program was in a chroot it is not: the host's own root lies below, and
// whoever enters the namespace, as runc does for kubectl exec, would be there.
func takeNamespace() error {
	root, err := os.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this, and with it a root of its own
		done <- lowest(root)
	}()
	return <-done
}

// lowest enters this process's own mount namespace by a thread, and makes root its root.
func lowest(root *os.File) error {
	self, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return err
	}
	defer self.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) wants it
		return err
	}
	if err := unix.Setns(int(self.Fd()), unix.CLONE_NEWNS); err != nil {
		return err
	}
	own, err := root.Stat()
	if err != nil {
		return err
	}
	if top, err := os.Stat("/"); err != nil || os.SameFile(own, top) {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keep mounts from the host: %w", err)
	}
	if err := unix.Fchdir(int(root.Fd())); err != nil { // this thread's alone
		return err
	}
	err = pivotHere()
	if errors.Is(err, unix.EINVAL) { // the kernel's first root stays, and is covered: as switch_root does
		err = unix.Mount(".", "/", "", unix.MS_MOVE, "")
	}
	return err
}
