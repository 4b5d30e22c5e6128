package disks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// A Standing is how far an earlier boot came with a volume.
type Standing int

// The standings of a volume.
const (
	Absent  Standing = iota // there is no device, or no volume on it that bears a mark
	Changed                 // it bears the mark of another configuration
	Begun                   // it bears the mark of this configuration, and was cut off
	Bound                   // it bears the mark of this configuration, and is bound to the TPM
)

// Kept finds again what an earlier boot made, and changes nothing on a disk.
type Kept struct {
	s         *stage
	config    types.Config
	assembled []string
}

// NewKept wants the Mark of the configuration in c.
func NewKept(c Config, config types.Config) *Kept { return &Kept{s: New(c).(*stage), config: config} }

// Await waits for the disks of the config: one that is late would be taken for
// an empty one.
func (k *Kept) Await(ctx context.Context) error {
	for i, d := range k.config.Storage.Disks {
		if _, err := k.s.wait(ctx, d.Device); err != nil {
			return ignition.At(err, "$.storage.disks[%d]", i)
		}
	}
	return nil
}

// Assemble starts the arrays of which there are members, also if one is
// missing.
func (k *Kept) Assemble(ctx context.Context) error {
	for i, r := range k.config.Storage.Raid {
		if err := k.assemble(ctx, r); err != nil {
			return ignition.At(fmt.Errorf("array %s: %w", r.Name, err), "$.storage.raid[%d]", i)
		}
	}
	return nil
}

func (k *Kept) assemble(ctx context.Context, r types.Raid) error {
	var members []string
	for _, d := range r.Devices {
		path, err := Resolve(string(d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		found, err := k.s.look(path)
		if err != nil {
			return err
		}
		if found.Type == "linux_raid_member" && arrayName(found.Label) == filepath.Base(r.Name) {
			members = append(members, path)
		}
	}
	if len(members) == 0 || isRunning(arrayPath(r.Name)) {
		return nil
	}
	if len(members) < len(r.Devices) {
		k.s.Log.Warn("array lacks members", "array", r.Name, "members", fmt.Sprintf("%d of %d", len(members), len(r.Devices)))
	}
	if _, err := k.s.Exec(ctx, Command{Name: "mdadm", Args: append([]string{"--assemble", arrayPath(r.Name), "--run"}, members...)}); err != nil {
		return err
	}
	k.assembled = append(k.assembled, arrayPath(r.Name))
	_, err := k.s.wait(ctx, arrayPath(r.Name))
	return err
}

// Release stops the arrays that Assemble started, so that the disks under them
// can be changed.
func (k *Kept) Release(ctx context.Context) error {
	for _, path := range k.assembled {
		if _, err := k.s.Exec(ctx, Command{Name: "mdadm", Args: []string{"--stop", path}}); err != nil {
			return err
		}
	}
	k.assembled = nil
	return nil
}

// Standing looks at a volume; nothing that it says is proven.
func (k *Kept) Standing(l types.Luks) (Standing, error) {
	dev, err := Resolve(*l.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return Absent, nil
	}
	if err != nil {
		return Absent, err
	}
	h, err := readHeader(dev)
	if err != nil || len(h.Subsystem) < len(tokenType) || h.Subsystem[:len(tokenType)] != tokenType {
		return Absent, nil
	}
	switch {
	case h.Subsystem != k.s.Mark.subsystem():
		return Changed, nil
	case len(h.Token(tokenType)) == 0:
		return Begun, nil
	}
	return Bound, nil
}

// Open opens a volume that this machine bound, by a copy of its header that
// nobody else can change.
func (k *Kept) Open(ctx context.Context, l types.Luks) error {
	dev, err := k.s.wait(ctx, *l.Device)
	if err != nil {
		return err
	}
	device, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer device.Close()
	copied, jwe, err := k.header(ctx, device)
	if err != nil {
		return err
	}
	defer copied.Close()
	passphrase, err := k.s.Bind.Open(ctx, jwe)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	_, err = k.s.Exec(ctx, Command{Name: "cryptsetup", Args: []string{"luksOpen", "--header", SecretPath(1), dev, l.Name, "--key-file", SecretPath(0)},
		Secrets: [][]byte{passphrase}, Files: []*os.File{copied}})
	return err
}

// OpenByFile opens a volume that has a key of its own.
func (k *Kept) OpenByFile(ctx context.Context, l types.Luks, key string) error {
	dev, err := k.s.wait(ctx, *l.Device)
	if err != nil {
		return err
	}
	return volume{s: k.s, luks: l, dev: dev}.cryptsetup(ctx, []string{"luksOpen", dev, l.Name, "--key-file", key})
}

// header is the volume's, checked, with what the TPM is to open.
func (k *Kept) header(ctx context.Context, device *os.File) (copied *os.File, jwe json.RawMessage, err error) {
	h, err := readHeader(device.Name())
	if err != nil {
		return nil, nil, err
	}
	var t struct {
		JWE json.RawMessage `json:"jwe"`
	}
	if list := h.Token("clevis"); len(list) != 1 || json.Unmarshal(list[0], &t) != nil {
		return nil, nil, ErrPlanted
	}
	if err := k.s.Mark.genuine(ctx, h); err != nil {
		return nil, nil, k.reason(ctx, err, t.JWE)
	}
	if copied, err = secretFile(nil); err != nil {
		return nil, nil, err
	}
	if err := h.Detach(device, copied); err != nil {
		return nil, nil, errors.Join(err, copied.Close())
	}
	return copied, t.JWE, nil
}

// reason tells a machine in another state, which no seal is genuine in, from a
// header that somebody changed.
func (k *Kept) reason(ctx context.Context, err error, jwe json.RawMessage) error {
	passphrase, refused := k.s.Bind.Open(ctx, jwe)
	if refused != nil {
		return refused
	}
	clear(passphrase)
	return err
}

// Close closes an open volume.
func (k *Kept) Close(ctx context.Context, l types.Luks) error {
	_, err := k.s.Exec(ctx, Command{Name: "cryptsetup", Args: []string{"luksClose", l.Name}})
	return err
}

// Holds says whether a device has the file system of the config.
func (k *Kept) Holds(f types.Filesystem) (bool, error) {
	dev, err := Resolve(f.Device)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found, err := k.s.look(dev)
	return err == nil && fits(f, found), err
}
