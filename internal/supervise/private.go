package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// shared are the folders that PrivateTmp has others stand for.
var shared = []string{"/tmp", "/var/tmp"}

// private makes the folders that stand for /tmp and /var/tmp for all programs of
// one start. Nobody but root gets into the folders that hold them.
func (s Sandbox) private(name string) (dirs []string, err error) {
	if !s.PrivateTmp {
		return nil, nil
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	for _, at := range shared {
		if _, err := os.Stat(at); err != nil {
			continue // an image need not have it
		}
		dir, err := os.MkdirTemp(at, privatePrefix+boot+"-"+name+"-")
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, dir)
		in := filepath.Join(dir, "tmp")
		if err := os.Mkdir(in, 0o700); err != nil {
			return dirs, err
		}
		if err := os.Chmod(in, 0o777|os.ModeSticky); err != nil {
			return dirs, err
		}
	}
	return dirs, nil
}

// privatePrefix and the boot's ID begin the name of a private folder: those of
// another boot have no service any more.
const privatePrefix = "private-"

func bootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.ReplaceAll(strings.TrimSpace(string(raw)), "-", ""), err
}

// sweep removes the private folders that a boot without an orderly end has left
// in a folder. Names there are anybody's: only root's own are touched.
func sweep(at, boot string) error {
	dirs, err := filepath.Glob(filepath.Join(at, privatePrefix+strings.Repeat("[0-9a-f]", len(boot))+"-*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 || strings.HasPrefix(filepath.Base(dir), privatePrefix+boot) {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("what an earlier boot left: %w", err)
		}
	}
	return nil
}

// sweepAll is done once, before any service starts; that it fails stops none.
func (s *Supervisor) sweepAll() {
	boot, err := bootID()
	for _, at := range shared {
		if err == nil {
			err = sweep(at, boot)
		}
	}
	if err != nil {
		s.Log.Warn("private folders are left", "err", err)
	}
}
