package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

const sysctlDir = "/proc/sys"

// seals close for good what nothing in the machine needs once its modules are
// there. The workload has no way to most of them by its capabilities alone;
// this holds for whoever finds one, and for the host's break key on the serial
// port.
var seals = [...]struct{ name, value string }{
	{"kernel/modules_disabled", "1"}, // until the next boot
	{"kernel/kexec_load_disabled", "1"},
	{"kernel/sysrq", "0"},
	{"kernel/unprivileged_bpf_disabled", "1"},
	{"kernel/perf_event_paranoid", "3"},
	{"kernel/dmesg_restrict", "1"},
	{"kernel/kptr_restrict", "2"},
	{"user/max_user_namespaces", "0"}, // in one, the workload would be root over more of the kernel
	{"vm/unprivileged_userfaultfd", "0"},
	{"fs/protected_hardlinks", "1"}, // systemd sets these four elsewhere
	{"fs/protected_symlinks", "1"},
	{"fs/protected_fifos", "1"},
	{"fs/protected_regular", "2"},
	{"fs/suid_dumpable", "0"},
}

// sealKernel sets them. What this kernel was built without needs no closing.
func sealKernel(dir string) error {
	for _, s := range seals {
		if err := writeExisting(filepath.Join(dir, s.name), s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s to %s: %w", s.name, s.value, err)
		}
	}
	return nil
}
