package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
	"golang.org/x/sys/unix"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/disks"
)

// pin is what volumes are bound to: the kernel image and its sections (PCRs 4
// and 11), the keys of Secure Boot (7), the configuration (8), and that no
// command line or credential was added (12 and 13).
var pin = json.RawMessage(`{"pcr_bank":"sha256","pcr_ids":"4,7,8,11,12,13"}`)

// A TPM binds volumes to the machine's state.
type TPM interface {
	disks.Binder
	Mac(ctx context.Context, message []byte, pin json.RawMessage) ([]byte, error)
}

func (a *application) disksConfig(redo bool) disks.Config {
	c := disks.Config{State: a.state, Fetch: a.get, Pin: pin, Exec: a.Exec, Aliases: a.path("devices"), Log: a.Log,
		Mark: &disks.Mark{Configuration: a.Digest, Redo: redo}}
	if a.TPM == nil {
		return c
	}
	c.Bind = a.TPM
	c.Mark.Mac = func(ctx context.Context, message []byte) ([]byte, error) { return a.TPM.Mac(ctx, message, pin) }
	return c
}

// A standing is how far earlier boots came.
type standing int

const (
	never standing = iota // nothing was done by this configuration
	cut                   // something was, and is not whole
	done                  // everything was, and the state is mounted
)

// String says it as of the boot that found it so.
func (s standing) String() string {
	return [...]string{"applied", "applied again after a run that was cut off", "applied by an earlier boot already"}[s]
}

// look finds out, and changes nothing on a disk but when it refuses nothing:
// it opens the volume of the state and mounts it.
func (a *application) look(ctx context.Context, k *disks.Kept) (standing, error) {
	if a.TPM == nil {
		return never, errors.New("the machine has no TPM to bind its state to")
	}
	if err := equipped(a.config); err != nil {
		return never, err
	}
	if err := errors.Join(k.Await(ctx), k.Assemble(ctx)); err != nil {
		return never, err
	}
	volume := a.config.Storage.Luks[0]
	found, err := k.Standing(volume)
	if err != nil {
		return never, ignition.At(err, "$.storage.luks[0]")
	}
	switch found {
	case disks.Absent:
		return never, nil
	case disks.Changed:
		a.Log.Warn("the disks are those of a machine with another configuration: what its config does not say to wipe stays, or is refused")
		return never, nil
	case disks.Begun:
		return cut, nil
	}
	if err := k.Open(ctx, volume); err != nil {
		return never, ignition.At(fmt.Errorf("volume %s, which this configuration made: %w", volume.Name, err), "$.storage.luks[0]")
	}
	whole, err := a.wholeState(k)
	if err != nil || whole {
		return done, err
	}
	return cut, k.Close(ctx, volume)
}

// wholeState mounts the state and says whether a run ended on it.
func (a *application) wholeState(k *disks.Kept) (bool, error) {
	i := stateIndex(a.config)
	f := a.config.Storage.Filesystems[i]
	has, err := k.Holds(f)
	if err != nil || !has {
		return false, err
	}
	if err := mountState(f); err != nil {
		return false, ignition.At(err, "$.storage.filesystems[%d]", i)
	}
	r, err := readRecord()
	if err == nil && r != nil && r.Configuration != a.Digest {
		err = fmt.Errorf("the state is of configuration %.80s", r.Configuration)
	}
	if err == nil && r != nil {
		return true, nil
	}
	return false, errors.Join(err, unix.Unmount(stateDir, 0))
}

func mountState(f types.Filesystem) error {
	dev, err := disks.Resolve(f.Device)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(dev, stateDir, *f.Format, unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount the state: %w", err)
	}
	return nil
}

// begin applies all of the config. After a run that was cut off it makes again
// what that had made.
func (a *application) begin(ctx context.Context, k *disks.Kept, redo bool) error {
	if err := k.Release(ctx); err != nil {
		return err
	}
	if err := a.stages(ctx, disks.New(a.disksConfig(redo))); err != nil {
		return err
	}
	if err := mountState(a.config.Storage.Filesystems[stateIndex(a.config)]); err != nil {
		return err
	}
	if err := a.overlays(stateDir); err != nil {
		return err
	}
	if err := errors.Join(a.stages(ctx, a.mounts(), a.files()), a.swaps()); err != nil {
		return err
	}
	return a.writeRecord()
}

// goOn opens and mounts what is there.
func (a *application) goOn(ctx context.Context, k *disks.Kept) error {
	for i, l := range a.config.Storage.Luks[1:] {
		if err := a.open(ctx, k, l); err != nil {
			return ignition.At(fmt.Errorf("volume %s: %w", l.Name, err), "$.storage.luks[%d]", i+1)
		}
	}
	if err := a.overlays(stateDir); err != nil {
		return err
	}
	return errors.Join(a.stages(ctx, a.mounts()), a.swaps())
}

// open takes a volume's own key where it has one: it is in the state.
func (a *application) open(ctx context.Context, k *disks.Kept, l types.Luks) error {
	if l.Clevis.IsPresent() {
		return k.Open(ctx, l)
	}
	return k.OpenByFile(ctx, l, stateDir+"/etc/luks/"+l.Name)
}
