package ignition

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/atomicfile"
)

// State is what one stage leaves for the next, in a file of upstream's form.
type State struct {
	FetchedConfigs []FetchedConfig `json:"fetchedConfigs"`
	// LuksPersistKeyFiles are data URLs of key files, by the volume's name: the
	// disks stage made them, the files stage writes and forgets them.
	LuksPersistKeyFiles map[string]string `json:"luksPersistKeyFiles"`
	// NotatedDirectories were made for mount points, below the root.
	NotatedDirectories []string `json:"notatedDirectories"`
	// ProviderOutputFiles are a platform's own, for the files stage.
	ProviderOutputFiles []types.File `json:"providerOutputFiles"`
	// LuksPersistSecureKeyRepoFiles keeps what an engine for other hardware wrote.
	LuksPersistSecureKeyRepoFiles map[string]string `json:"luksPersistVolumeKeyFiles"`
	// Origin is ours alone, as are those below: upstream's ignores them.
	Origin *Origin `json:"holdfastOrigin,omitempty"`
	// Measured are the SHA-256 digests of configs that were, in this boot.
	Measured []string `json:"holdfastMeasured,omitempty"`
}

// A FetchedConfig says where a config came from.
type FetchedConfig struct {
	Kind       string `json:"kind"` // base or user
	Source     string `json:"source"`
	Referenced bool   `json:"referenced"`
}

// LoadState is empty when there is no file yet.
func LoadState(path string) (*State, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &State{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state of earlier stages: %w", err)
	}
	s := &State{}
	if err := json.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("state of earlier stages in %s: %w", path, err)
	}
	return s, nil
}

// Save writes it for the next stage; it may hold keys.
func (s *State) Save(path string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("state for later stages: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("state for later stages: %w", err)
	}
	if err := atomicfile.WriteFile(path, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("state for later stages: %w", err)
	}
	return nil
}
