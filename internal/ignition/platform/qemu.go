package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/spec"
	"holdfast/internal/ignition/volume"
	"holdfast/internal/input"
)

// qemu reads what -fw_cfg name=opt/com.coreos/config,file=FILE gave, or else the
// disk that -device virtio-blk-pci,serial=ignition made of a config, which is as
// upstream has it on machines without fw_cfg. A machine that was given neither
// has an empty config.
func qemu(ctx context.Context, c Config, _ ignition.Ask) (ignition.Provided, error) {
	raw, err := firmware(ctx, c.FwCfg)
	if !errors.Is(err, fs.ErrNotExist) {
		return ignition.Provided{Raw: raw}, err
	}
	found, err := c.find(func(v volume.Volume) bool { return v.Serial == diskSerial })
	if err != nil || len(found) == 0 {
		return ignition.Provided{}, err
	}
	f, err := os.Open(found[0].Device)
	if err != nil {
		return ignition.Provided{}, err
	}
	defer f.Close()
	raw, err = input.ReadAll(f, spec.MaxSize)
	if err != nil {
		return ignition.Provided{}, fmt.Errorf("disk %s: %w", found[0].Device, err)
	}
	return ignition.Provided{Raw: bytes.TrimRight(raw, "\x00")}, nil // disks end with a sector
}

const diskSerial = "ignition"

// firmware is a file of QEMU's, or fs.ErrNotExist.
func firmware(ctx context.Context, dir string) ([]byte, error) {
	if dir == "" {
		dir = "/sys/firmware/qemu_fw_cfg"
	}
	if _, err := os.Stat(dir); err != nil {
		if path, err := exec.LookPath("modprobe"); err == nil {
			_ = exec.CommandContext(ctx, path, "qemu_fw_cfg").Run() // it is built in, or is missed below
		}
	}
	dir = filepath.Join(dir, "by_name", "opt", "com.coreos", "config")
	word, err := os.ReadFile(filepath.Join(dir, "size"))
	if err != nil {
		return nil, err
	}
	size, err := strconv.Atoi(strings.TrimSpace(string(word)))
	if err != nil || size < 0 || size > spec.MaxSize {
		return nil, fmt.Errorf("fw_cfg has a config of %.20q bytes, want at most %d", word, spec.MaxSize)
	}
	f, err := os.Open(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, size) // read at once: the kernel begins anew for every read
	_, err = io.ReadFull(f, raw)
	return raw, err
}
