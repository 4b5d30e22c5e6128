package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
	"holdfast/internal/machine"
)

// An InUseError says that another machine runs in the folder.
type InUseError struct{ Folder string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("folder %s is in use by a running machine", e.Folder)
}

// holdings are what a machine holds while it lives, beside its process.
type holdings struct {
	folder string
	tpm    machine.TPM
	unlock func() error
}

// Close lets all go.
func (h *holdings) Close() error {
	var errs []error
	if h.tpm != nil {
		errs = append(errs, h.tpm.Close())
	}
	if h.unlock != nil {
		errs = append(errs, h.unlock())
	}
	return errors.Join(errs...)
}

// takeFolder locks the machine's folder, puts the machine's files into it, and
// makes all paths of the spec absolute.
func takeFolder(s *machine.Spec, held *holdings) error {
	if err := absolute(s); err != nil {
		return err
	}
	if err := os.MkdirAll(s.Folder, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(s.Folder, 0o700); err != nil {
		return err
	}
	unlock, err := lockNow(filepath.Join(s.Folder, lockFile))
	if errors.Is(err, context.Canceled) {
		return &InUseError{Folder: s.Folder}
	}
	if err != nil {
		return err
	}
	held.folder, held.unlock = s.Folder, unlock
	return writeFiles(s)
}

// lockNow takes a lock that is free, and does not wait for one that is not.
func lockNow(path string) (func() error, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return atomicfile.Lock(ctx, path)
}

// absolute resolves the paths that are set, and sees that the files are there.
func absolute(s *machine.Spec) (err error) {
	if s.Folder, err = filepath.Abs(s.Folder); err != nil {
		return err
	}
	s.Disks = slices.Clone(s.Disks)
	paths := []*string{&s.Disk}
	for i := range s.Disks {
		paths = append(paths, &s.Disks[i])
	}
	if s.Firmware != nil {
		f := *s.Firmware // the caller's stays as it is
		s.Firmware = &f
		paths = append(paths, &f.Code, &f.Vars)
	}
	if s.Kernel != nil {
		k := *s.Kernel
		s.Kernel = &k
		paths = append(paths, &k.Image, &k.Initrd)
	}
	for _, p := range paths {
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
		if _, err := os.Stat(*p); err != nil {
			return err
		}
	}
	return nil
}

func writeFiles(s *machine.Spec) error {
	if s.Firmware != nil {
		vars, err := input.ReadFile(s.Firmware.Vars, input.Firmware)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.Folder, VarsFile), vars, 0o600); err != nil {
			return err
		}
	}
	if s.Wire != nil {
		link, err := json.Marshal(s.Wire.Link)
		if err == nil {
			err = atomicfile.WriteFile(filepath.Join(s.Folder, LinkFile), link, 0o600)
		}
		if err != nil {
			return err
		}
	}
	if s.InitData != nil {
		return atomicfile.WriteFile(filepath.Join(s.Folder, InitDataFile), s.InitData, 0o600)
	}
	return nil
}
