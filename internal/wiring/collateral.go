package wiring

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/azure"
	"holdfast/internal/attest/sample"
	"holdfast/internal/attest/snp"
	snpverify "holdfast/internal/attest/snp/verify"
	tdxverify "holdfast/internal/attest/tdx/verify"
	"holdfast/internal/follow"
	"holdfast/internal/input"
)

// EvidenceConfig says which kinds of evidence a broker takes beside a TPM's,
// and what there is to judge them by.
type EvidenceConfig struct {
	// Collateral is a folder of what makers of processors say of them; none
	// when empty. It is read again when files come into it or leave it.
	Collateral string
	// AcceptSample takes evidence that anybody can make. For tests.
	AcceptSample bool
}

// verifiers are those of the kinds that need no authority of this installation.
func (c EvidenceConfig) verifiers(log *slog.Logger) ([]attest.Verifier, error) {
	followed, err := follow.Open(follow.Config[hardware]{Read: func() (hardware, []string, error) { return readCollateral(c.Collateral, time.Now) }, Log: log})
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	var all []attest.Verifier
	for _, tee := range []string{snpverify.TEE, tdxverify.TEE, "az-snp-vtpm", "az-tdx-vtpm"} {
		all = append(all, following{tee, followed})
	}
	if !c.AcceptSample {
		return all, nil
	}
	if log != nil {
		log.Warn("broker: this broker takes TEST EVIDENCE (sample), which anybody can make: whoever reaches it may be given what a configuration may have")
	}
	return append(all, sample.Verifier{}), nil
}

// hardware are the verifiers of one reading of the collateral, by their kind.
type hardware map[string]attest.Verifier

// following judges by the collateral as it is when a handshake begins.
type following struct {
	tee  string
	file *follow.File[hardware]
}

func (f following) TEE() string { return f.tee }

func (f following) Begin(request api.RequestParams) (attest.Session, error) {
	return f.file.Get()[f.tee].Begin(request)
}

// A collateral is what the files of a folder hold, told apart by what they are:
// JSON of Intel's service, certificates in PEM, lists of revoked certificates
// in DER or PEM.
type collateral struct {
	signed  [][]byte
	pem     []byte
	revoked [][]byte
}

func readCollateral(dir string, clock func() time.Time) (hardware, []string, error) {
	var c collateral
	files := []string{}
	if dir != "" {
		files = append(files, dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, files, err
		}
		for _, e := range entries {
			if e.IsDir() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".md") {
				continue
			}
			path := filepath.Join(dir, e.Name())
			raw, err := input.ReadFile(path, input.Document)
			if err == nil {
				err = c.add(raw)
			}
			if err != nil {
				return nil, files, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	h, err := c.hardware(dir, clock)
	return h, files, err
}

func (c *collateral) add(raw []byte) error {
	switch {
	case json.Valid(raw):
		c.signed = append(c.signed, raw)
	case bytes.Contains(raw, []byte("-----BEGIN X509 CRL-----")):
		block, _ := pem.Decode(raw)
		if block == nil {
			return fmt.Errorf("expected a list of revoked certificates in PEM")
		}
		c.revoked = append(c.revoked, block.Bytes)
	case bytes.Contains(raw, []byte("-----BEGIN CERTIFICATE-----")):
		c.pem = append(append(c.pem, raw...), '\n')
	default:
		if _, err := x509.ParseRevocationList(raw); err != nil {
			return fmt.Errorf("expected Intel's JSON, certificates in PEM, or a list of revoked certificates: %w", err)
		}
		c.revoked = append(c.revoked, raw)
	}
	return nil
}

func (c *collateral) hardware(dir string, clock func() time.Time) (hardware, error) {
	amd, err := snpverify.New(snpverify.Config{Clock: clock, Revoked: c.revoked, Endorsement: chips(dir)})
	if err != nil {
		return nil, err
	}
	intel, err := tdxverify.New(tdxverify.Config{Clock: clock, Collateral: tdxverify.Collateral{Signed: c.signed, Signers: c.pem, Revoked: c.revoked}})
	if err != nil {
		return nil, err
	}
	overAMD, overIntel := azure.SNP(amd), azure.TDX(intel)
	return hardware{amd.TEE(): amd, intel.TEE(): intel, overAMD.TEE(): overAMD, overIntel.TEE(): overIntel}, nil
}

// chips finds certificates of chips where Trustee's offline store has them:
// vcek/ID/bl03_tee00_snp08_ucode115_vcek.der, or vcek/ID/vcek.der.
func chips(dir string) func(snpverify.Chip) ([]byte, error) {
	if dir == "" {
		return nil
	}
	return func(c snpverify.Chip) ([]byte, error) {
		id := c.ID
		if c.Product == snp.Turin {
			id = id[:8]
		}
		level := fmt.Sprintf("bl%02d_tee%02d_snp%02d_ucode%02d", c.TCB.Bootloader, c.TCB.TEE, c.TCB.SNP, c.TCB.Microcode)
		if c.Product == snp.Turin {
			level += fmt.Sprintf("_fmc%02d", c.TCB.FMC)
		}
		folder := filepath.Join(dir, "vcek", hex.EncodeToString(id))
		raw, err := input.ReadFile(filepath.Join(folder, level+"_vcek.der"), input.Document)
		if errors.Is(err, fs.ErrNotExist) {
			raw, err = input.ReadFile(filepath.Join(folder, "vcek.der"), input.Document)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the collateral has neither %s_vcek.der nor vcek.der in vcek/%.16s…", level, hex.EncodeToString(id))
		}
		return raw, err
	}
}
