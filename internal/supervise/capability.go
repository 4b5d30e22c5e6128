package supervise

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// giveUp takes capabilities away for good.
func (c cell) giveUp() error {
	for n := range 64 {
		if c.Dropped&(1<<n) == 0 {
			continue
		}
		// EINVAL: a capability that this kernel does not have.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("capability %d: %w", n, err)
		}
	}
	if c.Ambient == 0 {
		return nil
	}
	return unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
}

// keep hands ambient capabilities on, once the user is another.
func (c cell) keep() error {
	if c.Ambient == 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		bits := uint32(c.Ambient >> (32 * i))
		data[i].Inheritable |= bits & data[i].Permitted
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	for n := range 64 {
		if c.Ambient&(1<<n) == 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
			return fmt.Errorf("capability %d: %w", n, err)
		}
	}
	return nil
}
