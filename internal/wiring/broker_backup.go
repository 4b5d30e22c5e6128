package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/internal/atomicfile"
	"holdfast/internal/broker/audit"
	"holdfast/internal/broker/backup"
	"holdfast/internal/broker/state"
)

// A BrokerReport is what a broker's state, or a backup of one, was found to be.
type BrokerReport struct {
	State state.Report     `json:"state"`
	Audit audit.Report     `json:"audit"`
	Made  *backup.Manifest `json:"backup,omitempty"`
	Keys  bool             `json:"keys,omitempty"`  // the backup has the installation's
	Needs []MasterNeed     `json:"needs,omitempty"` // masters of resources in the backup that are not at hand
}

// Err tells what of it is not as it should be; resources that do not open may
// only lack their key.
func (r BrokerReport) Err() error {
	if n := len(r.Audit.Problems); n > 0 {
		return fmt.Errorf("the audit log is not what was written: %s", r.Audit.Problems[0])
	}
	return nil
}

// CheckBroker reads all that the installation's broker keeps.
func (i Installation) CheckBroker(ctx context.Context) (r BrokerReport, err error) {
	kept, err := i.openState(nil)
	if err != nil {
		return r, err
	}
	defer kept.Close()
	if r.State, err = kept.Check(ctx); err != nil {
		return r, err
	}
	r.Audit, err = i.VerifyAudit(ctx, nil)
	return r, err
}

// BackUp writes what the installation's broker keeps to a file, while it may be
// served: the state as it was at one moment, and at least all of the audit log
// until then. Values stay sealed; the keys that open them, and all others, are
// in it only if withKeys. How to reach the HSM is this machine's own affair and
// never is.
func (i Installation) BackUp(ctx context.Context, path string, withKeys bool) (m backup.Manifest, err error) {
	if _, err := os.Lstat(path); err == nil {
		return m, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	kept, err := i.openState(nil)
	if err != nil {
		return m, err
	}
	defer kept.Close()
	temp, err := os.MkdirTemp(i.dir, ".backup-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	files := map[string]string{"broker/" + state.File: filepath.Join(temp, state.File)}
	if err := kept.Copy(ctx, files["broker/"+state.File]); err != nil {
		return m, err
	}
	if err := i.rest(files, temp, withKeys); err != nil {
		return m, err
	}
	err = atomicfile.Write(path, 0o600, func(w io.Writer) error {
		m, err = backup.Write(w, time.Now(), files)
		return err
	})
	return m, err
}

// rest adds what is in files anyway: the audit log and its key, and the keys.
func (i Installation) rest(files map[string]string, temp string, withKeys bool) error {
	logs, err := i.linkLog(temp)
	if err != nil {
		return err
	}
	for _, path := range logs {
		files["broker/"+filepath.Base(path)] = path
	}
	if !withKeys {
		return nil
	}
	return filepath.WalkDir(i.Keys(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || path == i.hsmFile() {
			return err
		}
		rel, err := filepath.Rel(i.dir, path)
		files[filepath.ToSlash(rel)] = path
		return err
	})
}

// linkLog links the audit log and its key into a folder: links keep what they
// are while a file is put away. One that was put away between looking and
// linking would be missing, so it looks again.
func (i Installation) linkLog(temp string) (links []string, err error) {
	for {
		logs, err := audit.Files(i.Broker())
		if err != nil {
			return nil, err
		}
		dir, err := os.MkdirTemp(temp, "log-")
		if err != nil {
			return nil, err
		}
		links = nil
		for _, path := range append(slices.Clone(logs), filepath.Join(i.Broker(), "audit.key")) {
			link := filepath.Join(dir, filepath.Base(path))
			links, err = append(links, link), errors.Join(err, os.Link(path, link))
		}
		again, err2 := audit.Files(i.Broker())
		if err2 != nil || slices.Equal(logs, again) {
			return links, errors.Join(err, err2)
		}
	}
}
