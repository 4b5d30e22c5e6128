package container

import (
	"fmt"
	"os"
	"strings"
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
	raw, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !strings.Contains(string(raw), "\toverlay\n") {
		return &LackError{"overlayfs", "node and container roots are made of (try modprobe overlay)"}
	}
	return withGroups(groups.complete)
}
