package disks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// alias is the link by which a device is called from its first use on, so
// that changes to what /dev/disk points at do not lead us elsewhere.
func (s *stage) alias(dev string) string {
	return filepath.Join(s.Aliases, filepath.Clean(dev))
}

// await waits for a device and makes its alias.
func (s *stage) await(ctx context.Context, dev string) error {
	target, err := s.wait(ctx, dev)
	if err != nil {
		return err
	}
	alias := s.alias(dev)
	if err := os.MkdirAll(filepath.Dir(alias), 0o750); err != nil {
		return err
	}
	if err := os.Remove(alias); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, alias)
}

// ErrNoDevice says that a device of the config never appeared.
var ErrNoDevice = errors.New("no such device")

// wait polls, since udev tells nobody when its links are there.
func (s *stage) wait(ctx context.Context, dev string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, s.Wait)
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for start, told := time.Now(), false; ; {
		target, err := Resolve(dev)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return target, err
		}
		if !told && time.Since(start) > 2*time.Second {
			s.Log.Info("waiting for a device", "device", dev, "at most", s.Wait)
			told = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return "", fmt.Errorf("%s: %w: waited for %v", dev, ErrNoDevice, s.Wait)
			}
			return "", ctx.Err()
		}
	}
}
