package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const modulesDir = "/lib/modules"

// insertModules loads the modules that order names, in that order, and says
// how many are there now.
func insertModules() (int, error) {
	order, err := os.ReadFile(filepath.Join(modulesDir, "order"))
	if err != nil {
		return 0, err
	}
	names := strings.Fields(string(order))
	for _, name := range names {
		if !filepath.IsAbs(name) {
			name = filepath.Join(modulesDir, name)
		}
		if err := insertModule(name); err != nil {
			return 0, fmt.Errorf("insert %s: %w", filepath.Base(name), err)
		}
	}
	return len(names), nil
}

// insertModule treats a module that is there already, or whose hardware is
// not (an accelerated hash on a processor without it), as no error.
func insertModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
