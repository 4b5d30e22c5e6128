package container

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A LackError says what this host's kernel cannot do, and what needs it.
type LackError struct{ What, For string }

func (e *LackError) Error() string {
	return fmt.Sprintf("this machine's kernel has no %s, which %s", e.What, e.For)
}

// Check says what container machines need that this host lacks.
func Check() error {
	for _, n := range []string{"mnt", "pid", "net", "uts", "ipc", "cgroup"} {
		if _, err := os.Stat("/proc/self/ns/" + n); err != nil {
			return &LackError{n + " namespaces", "nodes are made of"}
		}
	}
	if !hasFilesystem("overlay") {
		return &LackError{"overlayfs", "node and container roots are made of"}
	}
	return withGroups(groups.complete)
}

// hasFilesystem has the kernel load the module where the filesystem is one, as
// a mount would (fsopen(2)). Of who may not ask, nothing is known: the mount will say.
func hasFilesystem(name string) bool {
	fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	return !errors.Is(err, unix.ENODEV)
}
