package swtpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// stateFile is what swtpm keeps a TPM 2.0 in; its presence makes a folder a TPM.
const stateFile = "tpm2-00.permall"

// Config says where a TPM and its certificate authority are kept. Both folders
// are made when absent.
type Config struct {
	Dir   string // the TPM; one folder each
	CADir string // the authority that certifies endorsement keys; shared
}

// Manufacture makes the TPM that c.Dir stands for, unless it is there already.
// It may be called by several processes at once; a TPM is whole or absent.
func Manufacture(ctx context.Context, c Config) error {
	dir, err := folder(c.Dir)
	if err != nil {
		return err
	}
	ca, err := folder(c.CADir)
	if err != nil {
		return err
	}
	if err := Installed(); err != nil {
		return err
	}
	if err := os.MkdirAll(ca, 0o700); err != nil {
		return err
	}
	unlock, err := atomicfile.Lock(ctx, filepath.Join(ca, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := manufacture(ctx, dir, ca); err != nil {
		return fmt.Errorf("make software TPM %s: %w", dir, err)
	}
	return nil
}

func manufacture(ctx context.Context, dir, ca string) error {
	switch _, err := os.Stat(filepath.Join(dir, stateFile)); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	config, err := writeConfig(ca)
	if err != nil {
		return err
	}
	work := filepath.Join(dir, ".new")
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o700)); err != nil { // a killed run leaves one
		return err
	}
	defer os.RemoveAll(work)
	if err := setup(ctx, work, config); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, stateFile), filepath.Join(dir, stateFile))
}

// setup runs swtpm_setup. RSA-2048 is the default key and has the certificate
// at NV index 0x01c00002; swtpm_setup adds a P-384 key that nothing here uses.
func setup(ctx context.Context, work, config string) error {
	cmd := exec.CommandContext(ctx, "swtpm_setup", "--tpm2", "--tpmstate", work, "--config", config,
		"--create-ek-cert", "--pcr-banks", "sha256")
	cmd.Env = append(os.Environ(), "TMPDIR="+work) // keys and certificates pass through temporary files
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

// writeConfig writes the three files that keep swtpm_setup and swtpm_localca
// away from the machine's own configuration and authority.
func writeConfig(ca string) (string, error) {
	tool, err := look("swtpm_localca")
	if err != nil {
		return "", err
	}
	localca, options, setup := filepath.Join(ca, "localca.conf"), filepath.Join(ca, "localca.options"), filepath.Join(ca, "setup.conf")
	files := []struct{ path, text string }{
		{localca, fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/signkey.pem\nissuercert = %[1]s/issuercert.pem\ncertserial = %[1]s/certserial\n", ca)},
		{options, "--platform-manufacturer Holdfast\n--platform-version 1\n--platform-model QEMU\n"},
		{setup, fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %s\ncreate_certs_tool_options = %s\nactive_pcr_banks = sha256\n", tool, localca, options)},
	}
	for _, f := range files {
		if err := atomicfile.WriteFile(f.path, []byte(f.text), 0o600); err != nil {
			return "", err
		}
	}
	return setup, nil
}

// CA returns the certificates of the authority kept in caDir as PEM: the
// issuer of endorsement certificates, then its root. A verifier trusts both.
// The error is fs.ErrNotExist before the first TPM was made.
func CA(caDir string) ([]byte, error) {
	var bundle []byte
	for _, name := range []string{"issuercert.pem", "swtpm-localca-rootca-cert.pem"} {
		data, err := input.ReadFile(filepath.Join(caDir, name), input.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate authority of software TPMs: %w", err)
		}
		bundle = append(bundle, bytes.TrimSpace(data)...)
		bundle = append(bundle, '\n')
	}
	return bundle, nil
}
