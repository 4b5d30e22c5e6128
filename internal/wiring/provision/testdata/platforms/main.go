// Command platforms is process 1 of the machine in which platforms meet the
// devices that they read. There is no udev and no network. It prints a line for
// each config that it found, and "failed" for what is not so.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/sys/unix"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/ignition"
	"holdfast/internal/ignition/platform"
	"holdfast/internal/wiring/provision"
)

func main() {
	defer func() { _ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }()
	for _, m := range []string{"proc", "sysfs", "devtmpfs", "tmpfs"} {
		at := map[string]string{"proc": "/proc", "sysfs": "/sys", "devtmpfs": "/dev", "tmpfs": "/run"}[m]
		_ = os.MkdirAll(at, 0o755)
		must("mount "+m, unix.Mount(m, at, m, 0, ""))
	}
	modules, _ := filepath.Glob("/modules/*.ko")
	modules = loadUntil(modules, "qemu_fw_cfg") // which comes before the disk that stands in for it
	found("qemu", silent)
	modules = loadUntil(modules, "sd_mod")
	found("qemu", silent)
	found("nocloud", silent)
	found("openstack", silent)
	found("azure", func(context.Context, ignition.Request) ([]byte, error) { return nil, nil })
	metal()
	loadUntil(modules, "")
	stick()
}

func must(what string, err error) {
	if err != nil {
		fmt.Printf("failed: %s: %v\n", what, err)
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// loadUntil gives those that are left when it comes to the named one.
func loadUntil(modules []string, name string) []string {
	for i, path := range modules {
		if strings.HasSuffix(path, "-"+name+".ko") {
			return modules[i:]
		}
		load(path)
	}
	return nil
}

func load(path string) {
	f, err := os.Open(path)
	must("open", err)
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		fmt.Println("module", path, err)
	}
}

// silent is a metadata service on a network that is not there.
func silent(ctx context.Context, _ ignition.Request) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func provide(name string, ask ignition.Ask) (ignition.Provided, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	provide, err := platform.Find(name)
	must(name, err)
	return provide(ctx, platform.Config{}, ask)
}

func found(name string, ask ignition.Ask) {
	p, err := provide(name, ask)
	must(name, err)
	fmt.Printf("ok: %s: %s\n", name, p.Raw)
	left, _ := filepath.Glob("/run/ignition-volume*")
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || len(left) > 0 || strings.Contains(string(mounts), "ignition-volume") {
		fmt.Println("failed: a volume is still mounted", left)
	}
}

// metal is the whole engine, as an initramfs calls it with the arguments that
// the kernel got.
func metal() {
	for _, stage := range []string{"fetch-offline", "files"} {
		var out bytes.Buffer
		must("root", os.MkdirAll("/sysroot", 0o755))
		code := provision.Command{Args: []string{"-stage", stage, "-root", "/sysroot", "-log-to-stdout"}, Env: os.Getenv, Stdout: &out, Stderr: &out}.Run(context.Background())
		if code != 0 {
			fmt.Printf("failed: stage %s: %s\n", stage, out.String())
			return
		}
	}
	kept, err := os.ReadFile("/sysroot/motd")
	must("motd", err)
	fmt.Printf("ok: metal: motd is %s\n", kept)
	report, err := os.ReadFile("/sysroot/var/report.json")
	must("report", err)
	if bytes.Contains(report, []byte(`"status": "done"`)) && bytes.Contains(report, []byte(`"platform": "metal"`)) {
		fmt.Println("ok: the report is kept")
	}
	config, err := os.ReadFile("/config.ign")
	must("config", err)
	device, err := tpm.Open(tpm.Device)
	must("TPM", err)
	defer device.Close()
	sum := sha256.Sum256(config)
	read, err := tpm2.PCRRead{PCRSelectionIn: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgSHA256, PCRSelect: tpm2.PCClientCompatible.PCRs(12)}}}}.Execute(device)
	must("PCR 12", err)
	if got := read.PCRValues.Digests[0].Buffer; bytes.Equal(got, tpm.SHA256.Extended(make([]byte, 32), sum[:])) {
		fmt.Println("ok: PCR 12 is the config's")
	} else {
		fmt.Printf("failed: PCR 12 is %x\n", got)
	}
}

// stick is plugged in beside the disk with the ESP; then that disk is taken away.
func stick() {
	for range 50 { // the kernel looks at SCSI in its own time
		if _, err := os.Stat("/dev/sda"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if _, err := provide("metal", silent); err != nil && strings.Contains(err.Error(), "want one") {
		fmt.Println("ok: metal: two configs are one too many")
	} else {
		fmt.Println("failed: metal with two configs:", err)
	}
	disks, _ := filepath.Glob("/sys/bus/virtio/drivers/virtio_blk/virtio*")
	for _, d := range disks {
		must("unbind", os.WriteFile("/sys/bus/virtio/drivers/virtio_blk/unbind", []byte(filepath.Base(d)), 0))
	}
	found("metal", silent)
}
