package platform

import (
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
)

// qemu reads what -fw_cfg name=opt/com.coreos/config,file=FILE gave. A machine
// that was given none has an empty config.
func qemu(ctx context.Context, c Config, _ ignition.Fetch) ([]byte, error) {
	dir := c.FwCfg
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
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
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
