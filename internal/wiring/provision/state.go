package provision

import (
	"errors"
	"fmt"
	"path"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

// checkState wants a state where there are disks: without it no later boot
// could tell that they are made already, and would wipe again what the config
// says to wipe.
func checkState(c types.Config) error {
	i := stateIndex(c)
	s := c.Storage
	if err := checkSwap(c); err != nil {
		return err
	}
	if i < 0 {
		if len(s.Disks)+len(s.Raid)+len(s.Luks)+len(s.Filesystems) == 0 {
			return nil
		}
		return ignition.At(fmt.Errorf("the disks of a machine need one file system with the label %q, which keeps what was done", StateLabel), "$.storage")
	}
	return ignition.At(checkStateOf(c, s.Filesystems[i]), "$.storage.filesystems[%d]", i)
}

// checkSwap: what is swapped out is a workload's memory.
func checkSwap(c types.Config) error {
	for i, f := range c.Storage.Filesystems {
		if isSwap(f) && path.Dir(f.Device) != "/dev/mapper" {
			return ignition.At(errors.New("memory would be written to a disk that the host reads: want swap on an encrypted volume, /dev/mapper/NAME"), "$.storage.filesystems[%d]", i)
		}
	}
	return nil
}

func isSwap(f types.Filesystem) bool { return f.Format != nil && *f.Format == "swap" }

func checkStateOf(c types.Config, f types.Filesystem) error {
	switch {
	case util.NotEmpty(f.Path):
		return errors.New("the state is mounted by the machine itself: want no path")
	case f.Format == nil || *f.Format != "ext4" && *f.Format != "xfs" && *f.Format != "btrfs":
		return errors.New("the state needs a format of Linux: want ext4, xfs or btrfs")
	case len(c.Storage.Luks) == 0 || path.Base(f.Device) != c.Storage.Luks[0].Name || path.Dir(f.Device) != "/dev/mapper":
		return errors.New("the state lies on the first encrypted volume: want /dev/mapper/ and the name of $.storage.luks[0]")
	}
	l := c.Storage.Luks[0]
	if !util.IsTrue(l.Clevis.Tpm2) || util.NotEmpty(l.KeyFile.Source) || l.Clevis.Custom.Pin != nil || len(l.Clevis.Tang) > 0 {
		return errors.New("the volume of the state opens by the TPM alone: want clevis.tpm2 in $.storage.luks[0], and no other key")
	}
	return nil
}

// stateIndex finds the state's file system; -1: there is none.
func stateIndex(c types.Config) int {
	for i, f := range c.Storage.Filesystems {
		if f.Label != nil && *f.Label == StateLabel {
			return i
		}
	}
	return -1
}
