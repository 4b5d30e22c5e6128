package swtpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

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
	if err := clearUnfinished(ca); err != nil {
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

// clearUnfinished removes what a killed run made of an authority, which
// swtpm_localca would take for whole: issuercert.pem comes last, and nothing was
// certified before it. The tool opens a file first and writes it at the end.
func clearUnfinished(ca string) error {
	info, err := os.Stat(filepath.Join(ca, issuer))
	if err == nil && info.Size() > 0 {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range []string{"swtpm-localca-rootca-privkey.pem", root, "signkey.pem", issuer} {
		if err := os.Remove(filepath.Join(ca, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// The authority's certificates, as swtpm_localca names them.
const (
	issuer = "issuercert.pem"
	root   = "swtpm-localca-rootca-cert.pem"
)

// CA returns the certificates of the authority kept in caDir as PEM: the
// issuer of endorsement certificates, then its root. A verifier trusts both.
// The error is fs.ErrNotExist before the first TPM was made.
func CA(caDir string) ([]byte, error) {
	var bundle []byte
	for _, name := range []string{issuer, root} {
		data, err := input.ReadFile(filepath.Join(caDir, name), input.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate authority of software TPMs: %w", err)
		}
		bundle = append(bundle, bytes.TrimSpace(data)...)
		bundle = append(bundle, '\n')
	}
	return bundle, nil
}
