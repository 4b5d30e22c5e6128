package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2/transport"

	"holdfast/internal/atomicfile"
	"holdfast/internal/attest/tpm"
	"holdfast/internal/ignition/admit"
)

// configPCR is where a config is measured when the engine runs in somebody
// else's boot: there PCR 12 has what configures the machine (UAPI Group, Linux
// TPM PCR Registry). A machine image of ours has it in PCR 8, with its init-data.
const configPCR = 12

// A measurer extends configs into the machine's TPM and keeps the log of it.
type measurer struct {
	open     func() (transport.TPMCloser, error)
	firmware string // the log that firmware left
	log      string // ours, which goes on where firmware's ends
	required bool
	out      *slog.Logger
}

// measurer is nil when nothing is to be measured.
func (c Command) measurer(f flags, log *slog.Logger) (*measurer, error) {
	m := &measurer{open: func() (transport.TPMCloser, error) { return tpm.Open(tpm.Device) }, firmware: tpm.EventLogFile, log: filepath.Join(filepath.Dir(f.state), "tpm-event-log"), out: log}
	switch f.measure {
	case "off":
		return nil, nil
	case "required":
		m.required = true
	case "auto":
	default:
		return nil, fmt.Errorf("-measure %.40q: want auto, required or off", f.measure)
	}
	return m, nil
}

// measure is for ignition.Config.Measure.
func (m *measurer) measure(ctx context.Context, source string, config []byte) error {
	device, err := m.open()
	if errors.Is(err, fs.ErrNotExist) && !m.required {
		return nil
	}
	if err != nil {
		return fmt.Errorf("measure the config: open the TPM: %w", err)
	}
	defer device.Close()
	before, err := m.before()
	if err != nil {
		return fmt.Errorf("measure the config: %w", err)
	}
	a := tpm.New(tpm.Config{TPM: device, EventLog: before})
	sum, err := a.Measure(ctx, configPCR, "the config", admit.Event(source), config)
	if err != nil {
		return err
	}
	m.out.Info("measured", "source", source, "sha256", fmt.Sprintf("%x", sum), "PCR", configPCR)
	if err := os.MkdirAll(filepath.Dir(m.log), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(m.log, a.EventLog(), 0o644)
}

// before is the log so far.
func (m *measurer) before() ([]byte, error) {
	for _, path := range []string{m.log, m.firmware} {
		raw, err := os.ReadFile(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return raw, err
		}
	}
	return nil, nil
}
