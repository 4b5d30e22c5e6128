// Package tsm makes the evidence of a confidential machine, as the Linux kernel
// hands it out: a report of AMD SEV-SNP or a quote of Intel TDX, over data of
// ours.
//
// The kernel's interface is a folder of configfs (Linux 6.7,
// Documentation/ABI/testing/configfs-tsm-report). Each report is asked for in a
// folder of its own, so that nobody else's data gets under it. Evidence has the
// form in which Trustee's attesters send it.
package tsm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/attest"
	"holdfast/internal/attest/snp"
	"holdfast/internal/attest/tdx"
	"holdfast/internal/attest/tpm"
)

// Where Linux has the interface, and the firmware's log of a TDX machine (ACPI
// 6.5, 5.2.35).
const (
	Folder       = "/sys/kernel/config/tsm/report"
	EventLogFile = "/sys/firmware/acpi/tables/data/CCEL"
)

// maxBlob bounds what is read: the kernel gives at most 32 KiB of either blob,
// later ones more.
const maxBlob = 1 << 20

// inblobSize is how much goes under a report.
const inblobSize = 64

// ErrNone says that the kernel has no interface: the machine is not
// confidential, its kernel is older than 6.7, or the driver is not loaded.
var ErrNone = errors.New("the kernel gives no reports of a confidential machine")

// A kind of evidence, by the kernel's name of who makes it.
type kind struct {
	tee string
	// bound is the field that the host fills when it launches the machine, which
	// is to hold the configuration's digest.
	bound func(report []byte) ([]byte, error)
	form  func(report, aux, log []byte) (json.RawMessage, error)
}

var kinds = map[string]kind{
	"sev_guest": {"snp", hostData, snpEvidence},
	"tdx_guest": {"tdx", configID, tdxEvidence},
}

// Config is what an Attester works with.
type Config struct {
	Folder   string // [Folder] when empty
	EventLog []byte // of the firmware, in TDX; may be empty

	// How the kernel's folder is made and removed: os.Mkdir and os.Remove.
	mkdir  func(string) error
	remove func(string) error
}

// An Attester makes evidence. Its methods may be called from several
// goroutines.
type Attester struct {
	config Config
	kind   kind
}

// New looks who makes reports: ErrNone when nobody does.
func New(c Config) (*Attester, error) {
	if c.Folder == "" {
		c.Folder = Folder
	}
	if c.mkdir == nil {
		c.mkdir, c.remove = func(path string) error { return os.Mkdir(path, 0o700) }, os.Remove
	}
	a := &Attester{config: c}
	var provider []byte
	err := a.within(func(dir string) (err error) {
		provider, err = read(filepath.Join(dir, "provider"))
		return err
	})
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace(string(provider))
	k, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("reports by %.40q: expected sev_guest or tdx_guest", name)
	}
	a.kind = k
	return a, nil
}

// TEE is the kind of evidence made.
func (a *Attester) TEE() string { return a.kind.tee }

// Offer is nothing: the hardware answers no challenge.
func (a *Attester) Offer(context.Context) (*api.ActivationOffer, error) { return nil, nil }

// Evidence is a report over runtimeDigest.
func (a *Attester) Evidence(ctx context.Context, runtimeDigest []byte, _ *api.ActivationChallenge) (json.RawMessage, error) {
	report, aux, err := a.report(ctx, runtimeDigest)
	if err != nil {
		return nil, err
	}
	return a.kind.form(report, aux, a.config.EventLog)
}

// WorkloadEvidence is a report over data of a workload's choice, hashed as for a
// TPM: 32 bytes with zeros behind them, where a handshake's digest has 48.
func (a *Attester) WorkloadEvidence(ctx context.Context, data []byte) ([]byte, error) {
	nonce := tpm.WorkloadNonce(data)
	return a.Evidence(ctx, nonce[:], nil)
}

// MeasureInitData checks that the machine was launched with the configuration's
// digest. Nothing can be measured later: a host that launched it with another
// is refused by the broker, too.
func (a *Attester) MeasureInitData(ctx context.Context, document []byte) (sum [sha256.Size]byte, err error) {
	sum = sha256.Sum256(document)
	report, _, err := a.report(ctx, nil)
	if err != nil {
		return sum, err
	}
	got, err := a.kind.bound(report)
	if err != nil {
		return sum, err
	}
	if want := attest.Fit(sum[:], len(got)); string(got) != string(want) {
		return sum, fmt.Errorf("the machine was launched for the configuration %x, and was handed %x", got, want)
	}
	return sum, nil
}

// report asks for one over data.
func (a *Attester) report(ctx context.Context, data []byte) (report, aux []byte, err error) {
	if len(data) > inblobSize {
		return nil, nil, fmt.Errorf("report over %d bytes: at most %d fit", len(data), inblobSize)
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	err = a.within(func(dir string) error {
		if err := write(filepath.Join(dir, "inblob"), attest.Fit(data, inblobSize)); err != nil {
			return err
		}
		if report, err = read(filepath.Join(dir, "outblob")); err != nil {
			return err
		}
		aux, err = read(filepath.Join(dir, "auxblob"))
		if errors.Is(err, fs.ErrNotExist) { // not every maker has any
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("report of the %s hardware: %w", a.kind.tee, err)
	}
	return report, aux, nil
}

// within does something in a folder that nobody else knows.
func (a *Attester) within(do func(dir string) error) error {
	dir := filepath.Join(a.config.Folder, "holdfast-"+rand.Text())
	err := a.config.mkdir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNone
	}
	if err != nil {
		return err
	}
	return errors.Join(do(dir), a.config.remove(dir))
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBlob+1))
	if err == nil && len(raw) > maxBlob {
		err = fmt.Errorf("%s has more than %d bytes", filepath.Base(path), maxBlob)
	}
	return raw, err
}

// write writes at once what the kernel takes at the end of it.
func write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func snpEvidence(report, aux, _ []byte) (json.RawMessage, error) {
	r, err := snp.ParseReport(report)
	if err != nil {
		return nil, err
	}
	chain, err := Certificates(aux)
	if err != nil {
		return nil, err
	}
	return snp.Marshal(r, chain...)
}

func hostData(report []byte) ([]byte, error) {
	r, err := snp.ParseReport(report)
	if err != nil {
		return nil, err
	}
	return r.HostData(), nil
}

func tdxEvidence(quote, _, log []byte) (json.RawMessage, error) {
	if _, err := tdx.ParseQuote(quote); err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Quote    []byte `json:"quote"`
		EventLog []byte `json:"cc_eventlog,omitempty"`
	}{quote, log})
}

func configID(quote []byte) ([]byte, error) {
	q, err := tdx.ParseQuote(quote)
	if err != nil {
		return nil, err
	}
	return q.Body.ConfigID(), nil
}
