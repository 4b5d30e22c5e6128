package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/internal/atomicfile"
	"holdfast/internal/input"
)

// A completion says, in the state, that all of a config was applied. Whoever reads
// it opened the volume that it lies on by the TPM.
type completion struct {
	Configuration string    `json:"configuration"` // sha256:…
	BootID        string    `json:"boot_id"`       // of the kernel that applied it
	Time          time.Time `json:"time"`
}

var recordPath = filepath.Join(stateDir, "holdfast.json")

// readRecord gives nil where the run has not come to its end.
func readRecord() (*completion, error) {
	raw, err := input.ReadFile(recordPath, input.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &completion{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("record of the run in the state: %w", err)
	}
	return r, nil
}

// writeRecord is the last thing of a run: everything before it is on the disk
// then.
func (a *application) writeRecord() error {
	raw, err := json.Marshal(completion{a.Digest, bootID(), time.Now().UTC()})
	if err != nil {
		return err
	}
	unix.Sync()
	if err := atomicfile.WriteFile(recordPath, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return syncFolder(stateDir)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
