package disks

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/boot/gpt"
)

// A Foreseen table is what would become of a disk's.
type Foreseen struct {
	Before, After *gpt.Table // nil: there is none, none is needed
	Created       []int      // partitions that would not be there as they are
	Wiped         bool
}

// Foresee decides as the stage does, on a disk or an image of one, and writes
// nothing. The GUIDs that it draws are others than those of the run.
func Foresee(path string, d types.Disk, log *slog.Logger) (Foreseen, error) {
	dev, err := openDevice(path, os.O_RDONLY)
	if err != nil {
		return Foreseen{}, err
	}
	defer dev.Close()
	x, err := New(Config{Log: log}).(*stage).decide(dev, d)
	if err != nil {
		return Foreseen{}, fmt.Errorf("disk %s: %w", d.Device, err)
	}
	return Foreseen{Before: x.before, After: x.after, Created: x.created, Wiped: x.wipe}, nil
}
