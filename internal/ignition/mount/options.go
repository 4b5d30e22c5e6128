package mount

import (
	"strings"

	"golang.org/x/sys/unix"
)

// A flag is what an option of mount(8) does to the flags of mount(2).
type flag struct {
	set, clear uintptr
}

var flags = map[string]flag{
	"defaults": {}, "ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
	"nosuid": {set: unix.MS_NOSUID}, "suid": {clear: unix.MS_NOSUID},
	"nodev": {set: unix.MS_NODEV}, "dev": {clear: unix.MS_NODEV},
	"noexec": {set: unix.MS_NOEXEC}, "exec": {clear: unix.MS_NOEXEC},
	"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
	"dirsync": {set: unix.MS_DIRSYNC}, "silent": {set: unix.MS_SILENT}, "loud": {clear: unix.MS_SILENT},
	"noatime": {set: unix.MS_NOATIME}, "atime": {clear: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME}, "diratime": {clear: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
	// For fstab and its readers, not for the kernel: fstab(5), mount(8).
	"auto": {}, "noauto": {}, "user": {}, "nouser": {}, "users": {}, "owner": {}, "group": {}, "nofail": {}, "_netdev": {},
}

// parse splits options into the kernel's flags and the filesystem's own words.
func parse(options []string) (set uintptr, data string) {
	var rest []string
	for _, o := range strings.Split(strings.Join(options, ","), ",") {
		f, known := flags[o]
		switch {
		case known:
			set = set&^f.clear | f.set
		case o != "" && !strings.HasPrefix(o, "x-") && !strings.HasPrefix(o, "X-") && !strings.HasPrefix(o, "comment="):
			rest = append(rest, o)
		}
	}
	return set, strings.Join(rest, ",")
}
