package wiring

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tpm/makers"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/broker"
	"holdfast/internal/input"
	"holdfast/internal/swtpm"
)

// TPMTrust says which TPMs the broker believes beside those that were made
// here.
type TPMTrust struct {
	Makers bool // all whose certificates this program holds
}

// TPMTrust is the folder of an operator's own: roots of makers (*.pem),
// revocation lists (*.crl) and attestation keys that count without activation
// (*.pub).
func (i Installation) TPMTrust() string { return filepath.Join(i.dir, "tpm-trust") }

// A tpmVerifier trusts the TPM authority that the installation has when it is
// asked: the first software TPM made here makes it, maybe after the broker
// was started. What an operator changes holds after trustAge.
type tpmVerifier struct {
	installation Installation
	trust        TPMTrust
	log          *slog.Logger // of what machines are not told; nil discards

	mu      sync.Mutex // guards all below
	current *verify.Verifier
	keys    *broker.AttestationKeys // that current trusts
	stamp   string                  // of the files that current was made of
	looked  time.Time               // when they were last looked at
}

const trustAge = 500 * time.Millisecond

func (v *tpmVerifier) TEE() string { return tpm.TEE }

func (v *tpmVerifier) Begin(request api.RequestParams) (attest.Session, error) {
	verifier, err := v.verifier()
	if err != nil {
		return nil, v.unreadable(err)
	}
	return verifier.Begin(request)
}

// Resume judges by what is trusted now, which may have changed since the
// challenge.
func (v *tpmVerifier) Resume(request api.RequestParams, kept []byte) (attest.Session, error) {
	verifier, err := v.verifier()
	if err != nil {
		return nil, v.unreadable(err)
	}
	return verifier.Resume(request, kept)
}

// unreadable keeps the names of files here from strangers.
func (v *tpmVerifier) unreadable(err error) error {
	if errors.Is(err, attest.ErrEndorsement) { // nobody is trusted yet
		return err
	}
	if v.log != nil {
		v.log.Error("no TPM is believed", "error", err)
	}
	return errors.New("this broker cannot read whose TPMs it trusts: its log says why")
}

// above is what stands between a TPM's certificate and a root that is trusted
// now.
func (v *tpmVerifier) above(certificate []byte) ([][]byte, error) {
	verifier, err := v.verifier()
	if err != nil {
		return nil, err
	}
	return verifier.Above(certificate)
}

func (v *tpmVerifier) verifier() (*verify.Verifier, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current != nil && time.Since(v.looked) < trustAge {
		return v.current, nil
	}
	stamp, err := v.installation.stampTPMs()
	if err != nil {
		return nil, err
	}
	v.looked = time.Now()
	if v.current != nil && stamp == v.stamp {
		return v.current, nil
	}
	v.current, v.keys = nil, nil // what cannot be read any more is not believed either
	config, keys, err := v.installation.tpmConfig(v.trust)
	if err != nil {
		return nil, err
	}
	if v.current, err = verify.New(*config); err != nil {
		return nil, err
	}
	v.stamp, v.keys = stamp, &broker.AttestationKeys{Names: keys}
	return v.current, nil
}

// listed are the keys that the operator vouches for; none when it cannot be
// told, which whoever shows one hears from Begin.
func (v *tpmVerifier) listed() *broker.AttestationKeys {
	v.mu.Lock()
	keys, recent := v.keys, time.Since(v.looked) < trustAge
	v.mu.Unlock()
	if recent {
		return keys
	}
	if _, err := v.verifier(); err != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keys
}

var trustFiles = []string{".pem", ".crl", ".pub"}

// stampTPMs changes when a file does that trust in TPMs rests on.
func (i Installation) stampTPMs() (string, error) {
	var stamp bytes.Buffer
	for _, dir := range []string{i.TPMAuthority(), i.TPMTrust()} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("trust in TPMs: %w", err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil && slices.Contains(trustFiles, filepath.Ext(e.Name())) {
				fmt.Fprintf(&stamp, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return stamp.String(), nil
}

// tpmConfig comes with the names of the keys in it.
func (i Installation) tpmConfig(trust TPMTrust) (*verify.Config, map[string]string, error) {
	roots, err := swtpm.CA(i.TPMAuthority())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	c := &verify.Config{Roots: roots}
	if trust.Makers {
		c.Roots = append(append(c.Roots, '\n'), makers.Roots()...)
		if c.Intermediates, err = makers.Intermediates(); err != nil {
			return nil, nil, err
		}
	}
	_, own, err := i.trusted(".pem")
	if err != nil {
		return nil, nil, err
	}
	for _, data := range own {
		c.Roots = append(append(c.Roots, '\n'), data...)
	}
	if _, c.Revocations, err = i.trusted(".crl"); err != nil {
		return nil, nil, err
	}
	keys, err := i.trustedTPMKeys()
	if err != nil {
		return nil, nil, err
	}
	if len(keys) > 0 { // else a machine is told at once that it has to activate
		c.TrustedKeys = func(key string) (bool, error) { _, ok := keys[key]; return ok, nil }
	}
	if len(bytes.TrimSpace(c.Roots)) == 0 && len(keys) == 0 {
		return nil, nil, fmt.Errorf("%w: this broker has no authority of TPMs yet", attest.ErrEndorsement)
	}
	return c, keys, nil
}

// trusted reads the files of a kind in the operator's folder, with their names.
func (i Installation) trusted(extension string) (names []string, all [][]byte, err error) {
	paths, err := filepath.Glob(filepath.Join(i.TPMTrust(), "*"+extension))
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		data, err := input.ReadFile(path, input.Document)
		if err != nil {
			return nil, nil, fmt.Errorf("trust in TPMs: %w", err)
		}
		names, all = append(names, strings.TrimSuffix(filepath.Base(path), extension)), append(all, data)
	}
	return names, all, nil
}

// trustedTPMKeys are the names of files by the keys in them.
func (i Installation) trustedTPMKeys() (map[string]string, error) {
	names, files, err := i.trusted(".pub")
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	for at, data := range files {
		block, rest := pem.Decode(data)
		if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, fmt.Errorf("trust in TPMs: %s: want one PEM public key in each .pub file", i.TPMTrust())
		}
		if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			return nil, fmt.Errorf("trust in TPMs: %s: %w", i.TPMTrust(), err)
		}
		known[base64.StdEncoding.EncodeToString(block.Bytes)] = names[at]
	}
	return known, nil
}
