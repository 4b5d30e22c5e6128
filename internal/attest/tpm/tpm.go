// Package tpm makes the evidence of a machine with a TPM 2.0.
//
// An Attester owns two keys in the TPM: the endorsement key, which a
// certificate vouches for, and an attestation key, which signs quotes. It
// proves that both are in one TPM by activating a credential, and quotes all 24
// PCRs of a bank or more together with the log of what was measured.
//
// It is linked into every machine and therefore holds nothing that only a
// verifier needs: see the package verify below this one.
package tpm

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// TEE is the name of this kind of evidence in the KBS protocol.
const TEE = "tpm"

// Where Linux has the TPM, with handles of our own, and the firmware's log.
const (
	Device       = "/dev/tpmrm0"
	EventLogFile = "/sys/kernel/security/tpm0/binary_bios_measurements"
)

// InitDataPCR is the PCR that holds the init-data document's digest and
// nothing else, as Trustee has it.
const InitDataPCR = 8

// PCRs is how many PCRs evidence shows.
const PCRs = 24

// Open opens a TPM device of the Linux kernel.
func Open(device string) (transport.TPMCloser, error) { return linuxtpm.Open(device) }

// Config is what an Attester works with.
type Config struct {
	TPM      transport.TPM
	EventLog []byte // the firmware's log, TCG crypto-agile format; may be empty

	// Key is what the attestation key signs with; RSA when empty, or P256 in a
	// TPM without RSA.
	Key Algorithm
	// Banks are quoted together, in this order. When empty, the first of
	// [Banks] that the TPM keeps is: Trustee reads quotes of SHA-256 alone.
	Banks []Bank
}

// An Attester makes evidence. Its methods may be called from several
// goroutines; the TPM sees one command at a time.
type Attester struct {
	mu    sync.Mutex // guards all below, and the TPM
	tpm   transport.TPM
	log   []byte
	key   Algorithm
	banks []Bank // to be quoted
	kept  []Bank // by the TPM; nil until it was asked
	keys  *keys  // nil until Prepare
}

// New returns an Attester. It sends nothing to the TPM.
func New(c Config) *Attester {
	return &Attester{tpm: c.TPM, log: slices.Clone(c.EventLog), key: c.Key, banks: slices.Clone(c.Banks)}
}

// TEE is the kind of evidence made.
func (a *Attester) TEE() string { return TEE }

// Prepare makes the keys, once. Offer does so too: a caller who has other work
// to do meanwhile calls Prepare early, in a goroutine of its own.
func (a *Attester) Prepare(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prepare(ctx)
}

func (a *Attester) prepare(ctx context.Context) error {
	if a.keys != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	k, err := makeKeys(a.tpm, a.key)
	if err != nil {
		return err
	}
	if err := a.chooseBanks(); err != nil {
		return errors.Join(err, k.flush(a.tpm))
	}
	a.keys = k
	return nil
}

// Close takes the keys out of the TPM. It does not close the TPM.
func (a *Attester) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys == nil {
		return nil
	}
	k := a.keys
	a.keys = nil
	return k.flush(a.tpm)
}

func flush(t transport.TPM, h tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(t)
	return err
}
