package machine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast/internal/attest/tpm"
	"holdfast/internal/attest/tsm"
)

// A prover makes evidence of this machine, and knows what it was configured
// with before anybody reads that.
type prover interface {
	attester
	MeasureInitData(ctx context.Context, document []byte) (sum [sha256.Size]byte, err error)
}

// A lateHardware is opened when it is first needed: before process 1 has
// mounted /dev there is none.
type lateHardware struct {
	once     sync.Once
	attester prover
	err      error
}

func (l *lateHardware) open() (prover, error) {
	l.once.Do(func() { l.attester, l.err = openHardware() })
	return l.attester, l.err
}

// openHardware takes the TPM, or, in a confidential machine without one, what
// the processor says.
func openHardware() (prover, error) {
	a, err := openTPM()
	if !errors.Is(err, errNoTPM) {
		return a, err
	}
	confidential, without := openTSM()
	if errors.Is(without, tsm.ErrNone) {
		return nil, err
	}
	return confidential, without
}

var errNoTPM = errors.New("the machine has no TPM")

// openTPM reads the firmware's log too. A machine that was started without
// firmware has none.
func openTPM() (prover, error) {
	device, err := tpm.Open(tpm.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoTPM
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

// configfs is where the kernel shows what tsm asks. No stage of process 1 needs
// it otherwise.
const configfs = "/sys/kernel/config"

func openTSM() (prover, error) {
	if _, err := os.Stat(tsm.Folder); errors.Is(err, fs.ErrNotExist) {
		err = unix.Mount("configfs", configfs, "configfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		if err != nil {
			return nil, tsm.ErrNone // a kernel without it
		}
	}
	log, err := os.ReadFile(tsm.EventLogFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return tsm.New(tsm.Config{EventLog: log})
}

// MeasureInitData extends the configuration's digest into PCR 8, or checks that
// a confidential machine was launched with it.
func (l *lateHardware) MeasureInitData(ctx context.Context, document []byte) (sum [sha256.Size]byte, err error) {
	a, err := l.open()
	if err != nil {
		return sum, err
	}
	return a.MeasureInitData(ctx, document)
}

// Prepare makes the attestation key of a TPM while other stages are at work.
// That a machine has none is for the measuring to say.
func (l *lateHardware) Prepare(ctx context.Context) error {
	a, err := l.open()
	if err != nil {
		return nil
	}
	if k, ok := a.(interface{ Prepare(context.Context) error }); ok {
		return k.Prepare(ctx)
	}
	return nil
}
