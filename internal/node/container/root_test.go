package container

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// changes is the word by which this program changes its root to a folder of the one that it
// names, which may be a chroot.
const changes, inChroot = "HOLDFAST_TEST_CHANGES_ROOT", "chroot:"

// changeRoot says what who enters the mount namespace afterwards does not find at its root.
func changeRoot(folder string) error {
	errs := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if dir, found := strings.CutPrefix(folder, inChroot); found {
		errs = errors.Join(errs, unix.Mount(dir, dir, "", unix.MS_BIND, ""), unix.Chroot(dir))
		folder = "/"
	}
	root := filepath.Join(folder, "machine")
	errs = errors.Join(errs, os.MkdirAll(root+"/proc", 0o755), unix.Mount("tmpfs", root, "tmpfs", 0, ""), os.Mkdir(root+"/proc", 0o755),
		unix.Mount("proc", root+"/proc", "proc", 0, ""), os.WriteFile(root+"/mine", nil, 0o644), pivot(root))
	if errs != nil {
		return errs
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		ns, err := os.Open("/proc/self/ns/mnt")
		if err == nil {
			err = errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS))
		}
		if err == nil {
			_, err = os.Stat("/mine")
		}
		done <- err
	}()
	return <-done
}

// Who enters a machine's mount namespace is in the machine, wherever the program
// that made it was: in a chroot, the host's root lies below.
func TestWhoEntersAMachineIsInTheMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes mount namespaces: run it as root")
	}
	for _, where := range []string{"", inChroot} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{changes + "=" + where + t.TempDir()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v: %s", where, err, said)
		}
	}
}
