package provision

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
	"holdfast/internal/ignition/disks"
)

// equipped refuses, before anything is done to a disk, what the image of this
// machine has no program or no module for.
func equipped(c types.Config) error {
	has := func(name string) error {
		if disks.HasProgram(name) {
			return nil
		}
		return fmt.Errorf("%s: %w: the recipe of the machine image says what is in it", name, disks.ErrNoProgram)
	}
	if len(c.Storage.Raid) > 0 {
		if err := has("mdadm"); err != nil {
			return ignition.At(err, "$.storage.raid[0]")
		}
	}
	if len(c.Storage.Luks) > 0 {
		if err := has("cryptsetup"); err != nil {
			return ignition.At(err, "$.storage.luks[0]")
		}
	}
	for i, f := range c.Storage.Filesystems {
		if f.Format == nil || *f.Format == "" || *f.Format == "none" {
			continue
		}
		if err := errors.Join(has(disks.Maker(*f.Format)), mountable(*f.Format)); err != nil {
			return ignition.At(err, "$.storage.filesystems[%d]", i)
		}
	}
	return nil
}

// mountable: no module is inserted any more, so what the kernel knows now is
// all that there will be.
func mountable(format string) error {
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if format == "swap" || slices.Contains(strings.Fields(string(known)), format) {
		return nil
	}
	return fmt.Errorf("the kernel of this machine image has no %s: its recipe says which modules it has", format)
}
