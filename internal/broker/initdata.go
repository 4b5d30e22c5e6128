package broker

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"

	"holdfast/internal/api"
)

// initData is an init-data document (kbs/docs/initdata.md of Trustee): the
// configuration that a machine measured before it used any of it.
type initData struct {
	digest string // sha256:…
	sum    []byte
	data   map[string]string
}

// parseInitData reads a document in the only form that is measured here: TOML
// with SHA-256. It returns nil for no message.
func parseInitData(m *api.InitDataMessage) (*initData, error) {
	if m == nil {
		return nil, nil
	}
	if m.Format != "toml" {
		return nil, fmt.Errorf("init-data: format %q is not supported: expected toml", m.Format)
	}
	var document struct {
		Version   string            `toml:"version"`
		Algorithm string            `toml:"algorithm"`
		Data      map[string]string `toml:"data"`
	}
	if _, err := toml.Decode(m.Body, &document); err != nil {
		return nil, fmt.Errorf("init-data: %w", err)
	}
	if document.Version != "0.1.0" {
		return nil, fmt.Errorf("init-data: version %q is not supported: expected 0.1.0", document.Version)
	}
	if a := document.Algorithm; a != "sha256" && a != "sha-256" {
		return nil, fmt.Errorf("init-data: algorithm %q is not supported: expected sha256, which PCR 8 holds", a)
	}
	sum := sha256.Sum256([]byte(m.Body))
	return &initData{digest: digestOf([]byte(m.Body)), sum: sum[:], data: document.Data}, nil
}

// allowCommand is what an administrator would type to authorise the document.
// Only well-formed paths get into it: it is there to be pasted into a shell.
func (d *initData) allowCommand() string {
	var config api.GuestConfig
	_ = json.Unmarshal([]byte(d.data[api.GuestConfigKey]), &config) // someone else's document has no such key
	var resources []string
	for _, secret := range config.Secrets {
		if path, err := ParseResource(secret.Resource); err == nil {
			resources = append(resources, string(path))
		}
	}
	return allowCommand(d.digest, resources)
}

func allowCommand(digest string, resources []string) string {
	if len(resources) == 0 {
		resources = []string{"REPOSITORY/TYPE/TAG"}
	}
	return "holdfast broker allow " + digest + " --resource " + strings.Join(resources, " --resource ")
}
