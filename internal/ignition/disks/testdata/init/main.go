// Command init is process 1 of the machine in which the disks stage meets a
// kernel that reads partition tables and has md and dm. There is no udev. It
// prints a line for each thing that is so, and "failed" for what is not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sys/unix"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/clevis"
	"holdfast/internal/ignition/disks"
	"holdfast/internal/ignition/mount"
)

const config = `{
  "disks": [{"device": "/dev/vda", "partitions": [
    {"label": "r1", "number": 1, "sizeMiB": 32}, {"label": "r2", "number": 2, "sizeMiB": 32},
    {"label": "vault", "number": 3, "sizeMiB": 32}, {"label": "plain data", "number": 4, "sizeMiB": 32},
    {"label": "bound", "number": 5, "sizeMiB": 32}]}],
  "raid": [{"name": "mirror", "level": "raid1", "devices": ["/dev/disk/by-partlabel/r1", "/dev/disk/by-partlabel/r2"], "options": ["--metadata=1.2", "--assume-clean"]}],
  "luks": [{"name": "vault", "device": "/dev/disk/by-partlabel/vault", "keyFile": {"source": "data:,key"}, "discard": true,
    "options": ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]}],
  "filesystems": [
    {"device": "/dev/md/mirror", "format": "ext4", "label": "MIRROR", "path": "/var"},
    {"device": "/dev/mapper/vault", "format": "ext4", "path": "/var/lib/vault"},
    {"device": "/dev/disk/by-partlabel/plain\\x20data", "format": "ext4", "label": "xdata", "path": "/data", "mountOptions": ["noatime"]},
    {"device": "/dev/disk/by-partlabel/r1", "path": ""}]
}`

func main() {
	defer func() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }()
	for _, m := range []string{"proc", "sysfs", "devtmpfs", "tmpfs"} {
		at := map[string]string{"proc": "/proc", "sysfs": "/sys", "devtmpfs": "/dev", "tmpfs": "/run"}[m]
		_ = os.MkdirAll(at, 0o755)
		must("mount "+m, unix.Mount(m, at, m, 0, ""))
	}
	os.Setenv("PATH", "/usr/sbin:/usr/bin")
	modules, _ := filepath.Glob("/modules/*.ko")
	sort.Strings(modules)
	for _, path := range modules {
		f, err := os.Open(path)
		must("open", err)
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Println("module", path, err)
		}
	}
	reread()
	provision()
	inUse()
	bound()
}

func must(what string, err error) {
	if err != nil {
		fmt.Printf("failed: %s: %v\n", what, err)
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

func storage(text string) types.Config {
	var c types.Config
	must("config", json.Unmarshal([]byte(text), &c.Storage))
	return c
}

func run(c types.Config) error { return runWith(c, disks.Program) }

func runWith(c types.Config, exec disks.Runner) error {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	fetch := func(_ context.Context, r types.Resource, w io.Writer) error {
		_, err := io.WriteString(w, strings.TrimPrefix(*r.Source, "data:,"))
		return err
	}
	conf := disks.Config{Fetch: fetch, Exec: exec, Log: log, Wait: 2 * time.Minute, State: &ignition.State{}}
	if clevis.HasDevice() {
		conf.Bind = clevis.Device()
	}
	return disks.New(conf).Run(context.Background(), c)
}

// reread is what udev does to a disk that somebody wrote: while the stage works
// with partitions the kernel does not take them away, and later it does.
func reread() {
	again := func() error {
		disk, err := os.Open("/dev/vda")
		must("open the disk", err)
		defer disk.Close()
		return unix.IoctlSetInt(int(disk.Fd()), unix.BLKRRPART, 0)
	}
	asked := 0
	must("a partition for a while", runWith(storage(`{"disks":[{"device":"/dev/vda","partitions":[{"number":1,"label":"a while"}]}],
	  "filesystems":[{"device":"/dev/disk/by-partlabel/a\\x20while","format":"ext4"}]}`), func(ctx context.Context, c disks.Command) ([]byte, error) {
		asked++
		fmt.Println("ok: in the stage:", again())
		return disks.Program(ctx, c)
	}))
	fmt.Println("ok: behind the stage:", again(), asked)
	must("no partition again", run(storage(`{"disks":[{"device":"/dev/vda","wipeTable":true}]}`)))
}

// provision makes everything, mounts it, and does so again.
func provision() {
	c := storage(config)
	c.Storage.Filesystems = c.Storage.Filesystems[:3]
	must("disks", run(c))
	fmt.Println("ok: disks")
	m := mount.Config{Root: "/sysroot", Resolve: disks.Resolve}
	must("root", os.MkdirAll("/sysroot", 0o755))
	must("mount", mount.New(m).Run(context.Background(), c))
	must("write", os.WriteFile("/sysroot/var/lib/vault/file", []byte("kept"), 0o600))
	must("umount", mount.NewUmount(m).Run(context.Background(), c))
	fmt.Println("ok: mount")
	must("close", command("cryptsetup", "luksClose", "vault"))
	must("stop", command("mdadm", "--stop", "/dev/md/mirror"))
	must("disks again", run(c))
	must("mount again", mount.New(m).Run(context.Background(), c))
	kept, err := os.ReadFile("/sysroot/var/lib/vault/file")
	must("read", err)
	fmt.Printf("ok: again, file is %s\n", kept)
}

// inUse: others of a disk in use may change, those in use may not.
func inUse() {
	must("append", run(storage(`{"disks":[{"device":"/dev/vda","partitions":[{"number":6,"label":"late","sizeMiB":16}]}]}`)))
	size, err := os.ReadFile("/sys/class/block/vda6/size")
	must("the kernel's size", err)
	fmt.Printf("ok: late has %s sectors\n", strings.TrimSpace(string(size)))
	must("resize", run(storage(`{"disks":[{"device":"/dev/vda","partitions":[{"number":6,"label":"late","sizeMiB":20,"resize":true}]}]}`)))
	size, _ = os.ReadFile("/sys/class/block/vda6/size")
	fmt.Printf("ok: late has %s sectors\n", strings.TrimSpace(string(size)))
	for _, text := range []string{
		`{"disks":[{"device":"/dev/vda","partitions":[{"number":4,"label":"x","wipePartitionEntry":true}]}]}`,
		`{"disks":[{"device":"/dev/vda","wipeTable":true}]}`,
		`{"filesystems":[{"device":"/dev/vda4","format":"ext4","wipeFilesystem":true}]}`,
	} {
		if err := run(storage(text)); err != nil {
			fmt.Println("ok: refused:", err)
		} else {
			fmt.Println("failed: accepted", text)
		}
	}
}

// bound needs a TPM: the kernel's resource manager, and a volume under it.
func bound() {
	if !clevis.HasDevice() {
		fmt.Println("failed: no TPM")
		return
	}
	must("bound", run(storage(`{"luks":[{"name":"bound","device":"/dev/disk/by-partlabel/bound","clevis":{"tpm2":true},"options":["--pbkdf","pbkdf2","--pbkdf-force-iterations","1000"]}]}`)))
	_, err := os.Stat("/dev/mapper/bound")
	must("mapped", err)
	fmt.Println("ok: bound")
}

func command(name string, args ...string) error {
	_, err := disks.Program(context.Background(), disks.Command{Name: name, Args: args})
	return err
}
