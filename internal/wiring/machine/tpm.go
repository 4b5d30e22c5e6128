package machine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"holdfast/internal/attest/tpm"
)

// A lateTPM opens the TPM when it is first needed: before process 1 has
// mounted /dev there is none.
type lateTPM struct {
	once     sync.Once
	attester *tpm.Attester
	err      error
}

func (l *lateTPM) open() (*tpm.Attester, error) {
	l.once.Do(func() { l.attester, l.err = openTPM() })
	return l.attester, l.err
}

// openTPM reads the firmware's log too. A machine that was started without
// firmware has none.
func openTPM() (*tpm.Attester, error) {
	device, err := tpm.Open(tpm.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the machine has no TPM")
	}
	if err != nil {
		return nil, fmt.Errorf("open the TPM: %w", err)
	}
	log, err := os.ReadFile(tpm.EventLogFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, device.Close())
	}
	return tpm.New(tpm.Config{TPM: device, EventLog: log}), nil
}

// MeasureInitData extends the configuration's digest into PCR 8.
func (l *lateTPM) MeasureInitData(ctx context.Context, document []byte) (sum [sha256.Size]byte, err error) {
	a, err := l.open()
	if err != nil {
		return sum, err
	}
	return a.MeasureInitData(ctx, document)
}

// Prepare makes the attestation key while other stages are at work. That a
// machine has no TPM is for the measuring to say.
func (l *lateTPM) Prepare(ctx context.Context) error {
	a, err := l.open()
	if err != nil {
		return nil
	}
	return a.Prepare(ctx)
}
