package swtpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// guarded runs its arguments, and kills them and all that they started when
// descriptor 3 is closed. A death signal would reach swtpm_setup alone, and the
// TPM that it starts holds both ends of its own sockets: it never sees its peer go.
const guarded = `{ read -r _; kill -KILL 0; } <&3 >/dev/null 2>&1 & exec "$@" 3<&-`

// setup runs swtpm_setup. RSA-2048 is the default key and has the certificate
// at NV index 0x01c00002; swtpm_setup adds a P-384 key that nothing here uses.
func setup(ctx context.Context, work, config string) error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close() // which the kernel does as well when this process is killed
	defer theirs.Close()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", guarded, "sh",
		"swtpm_setup", "--tpm2", "--tpmstate", work, "--config", config, "--create-ek-cert", "--pcr-banks", "sha256")
	cmd.Env = append(os.Environ(), "TMPDIR="+work) // keys and certificates pass through temporary files
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("swtpm_setup: %w: %s", errors.Join(ctx.Err(), err), tail(out.Bytes()))
	}
	return nil
}
